// What is pressed in this piece of the page goes to the server as one event, "act", or where the answer takes the models
// as "ask"; afterwards the focus is where it was.
let last = "";
const remember = (at) => {
  const data = at.dataset;
  last = data.act ? `[data-act="${CSS.escape(data.act)}"]` + (data.value ? `[data-value="${CSS.escape(data.value)}"]` : "") : "";
};
element.addEventListener("click", (event) => {
  const at = event.target.closest("[data-act]");
  if (!at || at.tagName === "FORM" || at.disabled) return;
  remember(at);
  trigger(at.dataset.event === "ask" ? "ask" : "act", { ...at.dataset });
});
const send = (form) => trigger("act", { ...form.dataset, ...Object.fromEntries(new FormData(form)) });
element.addEventListener("submit", (event) => {
  event.preventDefault();
  send(event.target);
});
element.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-live]");
  if (form) send(form);
});
let typing;
element.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-live]");
  if (!form || event.target.type !== "search") return;
  clearTimeout(typing);
  typing = setTimeout(() => send(form), 250);
});
watch("value", () => {
  // A new value changes the attributes in place, and fields keep what was typed: put them to what the server says.
  for (const form of element.querySelectorAll("form")) form.reset();
  if (!last || (document.activeElement && document.activeElement !== document.body)) return;
  const again = element.querySelector(last) || element.querySelector("[data-focus]");
  if (again) again.focus({ preventScroll: true });
});
