const PAUSE_MS = 100; // of typing, before the text is sent

function render({ model, el }) {
  const view = String(Math.random());
  const label = document.createElement("label");
  let input = null;
  let timer = null;

  const send = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    model.send({ typed: input.value, view });
  };
  const create = (content) => {
    input = document.createElement(content.options.length ? "select" : content.rows ? "textarea" : "input");
    if (content.rows) input.rows = content.rows;
    input.id = `${content.id}-${view}`;
    input.autocomplete = "off";
    label.htmlFor = input.id;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(send, PAUSE_MS);
    });
    input.addEventListener("change", send); // when it loses the focus, before a click is handled
    el.classList.add("viberkit-input");
    el.replaceChildren(label, input);
  };
  const show = (content) => {
    if (input === null && content.id) create(content);
    if (input === null) return;
    if (content.options && input.localName === "select") {
      const chosen = content.value ?? input.value;
      input.replaceChildren(...content.options.map((name) => new Option(name)));
      input.value = chosen;
    }
    if (content.do === "focus") input.focus();
    if (content.value !== undefined && content.except !== view) {
      clearTimeout(timer);
      timer = null;
      if (input.value !== content.value) input.value = content.value;
    }
    if (content.description !== undefined) label.textContent = content.description;
    if (content.placeholder !== undefined) input.placeholder = content.placeholder;
    if (content.disabled !== undefined) input.disabled = content.disabled;
    if (content.invalid !== undefined) input.setAttribute("aria-invalid", content.invalid);
    if (content.described_by) input.setAttribute("aria-describedby", content.described_by);
  };
  model.on("msg:custom", show);
  model.send("ready");
  return () => {
    send();
    model.off("msg:custom", show);
  };
}

export default { render };
