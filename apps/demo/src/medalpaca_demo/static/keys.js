// j next, k previous, Enter compare, Esc stop; each key is also a button. Keys typed into a field belong to the field.
(() => {
  const BUTTONS = { j: "mp-next", k: "mp-previous", Enter: "mp-compare", Escape: "mp-stop" };
  const FIELDS = "input, textarea, select, [contenteditable], [role=listbox], [role=option], [role=grid]";
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
    const id = BUTTONS[event.key];
    const at = event.target;
    if (!id || (at.closest && at.closest(FIELDS))) return;
    // Enter on a focused button or link means that button.
    if (event.key === "Enter" && at.closest && at.closest("button, a, summary")) return;
    const button = document.getElementById(id);
    if (button && !button.disabled) {
      event.preventDefault();
      button.click();
    }
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest && event.target.closest("[data-copy]");
    if (!button) return;
    const source = button.closest("section").querySelector("[data-copy-source]");
    await navigator.clipboard.writeText(source.innerText);
    button.textContent = "copied";
  });
})();
