function render({ model, el }) {
  const show = (content) => {
    if (content.id) el.id = content.id;
    if (content.role) el.setAttribute("role", content.role);
    if (content.value !== undefined) el.innerHTML = content.value;
    const focused = document.activeElement; // maybe in another cell meanwhile, where it stays
    if (content.keep_focus && (focused === document.body || el.parentElement.contains(focused))) el.focus();
  };
  el.tabIndex = -1; // for the method focus of widgets
  model.on("msg:custom", show);
  model.send("ready");
  return () => model.off("msg:custom", show);
}

export default { render };
