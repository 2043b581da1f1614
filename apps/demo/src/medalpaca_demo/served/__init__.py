"""How the page is served: who may log in, what is forbidden, and what no log may hold."""
