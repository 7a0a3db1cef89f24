// Copies the address of the page as it is at the click. The clipboard's own interface works on secure pages only; a
// server in a lecture hall's network is none, so there a text field that is selected does it.
export default function ({ parentElement }) {
  const button = parentElement.querySelector("button");
  button.onclick = async () => {
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    button.textContent = copied || select(location.href) ? "Copied" : location.href;
    button.focus(); // which the text field has taken
    setTimeout(() => { button.textContent = "Copy link"; }, 3000);
  };
}

function select(address) {
  const field = document.createElement("textarea");
  field.value = address;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}
