"""The ground floor: what every part needs and none may write twice. Standard library only."""
