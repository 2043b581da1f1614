// Keyboard shortcuts click the visible button that carries the key. Keys typed into a text field do nothing else.
(() => {
  const BUTTONS = {
    j: ["mp-next"], k: ["mp-previous"], Escape: ["mp-stop", "mp-own-stop"],
    Enter: ["mp-compare", "mp-vote-start", "mp-own-ask"],
  };
  const FIELDS = "input, textarea, select, [contenteditable], [role=listbox], [role=option], [role=grid], [role=tab]";
  const seen = (at) => at && !at.disabled && at.checkVisibility();
  const find = (key) => {
    const marked = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find(seen);
    return marked || (BUTTONS[key] || []).map((id) => document.getElementById(id)).find(seen);
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
    const at = event.target;
    if (at.closest && at.closest(FIELDS)) {
      if (event.key === "Escape") at.blur();
      return;
    }
    if (event.key === "?") return toggleHelp();
    // Enter on a focused button or link clicks that button.
    if (event.key === "Enter" && at.closest && at.closest("button, a, summary")) return;
    const found = find(event.key);
    if (!found) return;
    event.preventDefault();
    found.matches("input") ? found.focus() : found.click();
  });

  const toggleHelp = () => {
    const help = document.querySelector(".mp-help");
    if (help) help.open = !help.open;
  };

  document.addEventListener("click", async (event) => {
    const at = event.target.closest && event.target.closest("[data-copy], [data-download]");
    if (!at) return;
    if (at.matches("[data-copy]")) {
      await navigator.clipboard.writeText(at.closest("section").querySelector("[data-copy-source]").innerText);
      at.textContent = "copied";
    } else {
      const url = URL.createObjectURL(new Blob([at.nextElementSibling.content.textContent]));
      const link = Object.assign(document.createElement("a"), { href: url, download: at.dataset.download });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    }
  });

  // The page's URL contains the ids of tab and question, and nothing else, so that it can be sent to a colleague.
  // Ids of the tabs by label; the server fills them in.
  const TAB_IDS = {/* TABS */};
  const address = () => {
    const tab = document.querySelector("[role=tab][aria-selected=true]");
    if (!tab) return;
    const name = tab.textContent.trim();
    const query = new URLSearchParams({ tab: TAB_IDS[name] });
    const item = document.querySelector("#mp-question [data-item]");
    if (item && query.get("tab") === "compare") query.set("q", item.dataset.item);
    const newUrl = `?${query}`;
    if (moved && location.search !== newUrl) history.replaceState(null, "", newUrl);
  };
  // A fresh page keeps its URL until the first key or click.
  let moved = false;
  for (const kind of ["click", "keydown", "change"]) document.addEventListener(kind, () => (moved = true), true);

  // Count down the time of a timed block, and hand it in at zero. The server has its own clock, which decides.
  const clocks = new WeakMap();
  setInterval(() => {
    address();
    const clock = document.querySelector("[data-left]");
    if (!clock) return;
    if (!clocks.has(clock)) clocks.set(clock, performance.now() + 1000 * Number(clock.dataset.left));
    const left = Math.max(0, Math.round((clocks.get(clock) - performance.now()) / 1000));
    const text = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
    if (clock.textContent !== text) clock.textContent = text;
    if (left === 0 && !clock.dataset.over) {
      clock.dataset.over = "1";
      const hand = document.querySelector('#mp-exam [data-act="hand-in"]');
      if (hand) hand.click();
    }
  }, 250);
})();
