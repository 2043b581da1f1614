// Sends clicks and forms of this component to the server as one event: "act", or "ask" if the models must answer.
// After the answer, the focus returns to the element that had it.
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
  // A new value changes attributes in place, and fields keep their typed text: reset them to the server's values.
  for (const form of element.querySelectorAll("form")) form.reset();
  if (!last || (document.activeElement && document.activeElement !== document.body)) return;
  const again = element.querySelector(last) || element.querySelector("[data-focus]");
  if (again) again.focus({ preventScroll: true });
});
