// Streamlit makes an entry in the browser's history of each word that the server adds to the address. A step back should
// take back one change of the reader's: what the page completes by itself belongs to the entry that is there.

function listen() {
  const push = window.history.pushState.bind(window.history);
  const replace = window.history.replaceState.bind(window.history);
  let touched = false;
  for (const kind of ["pointerdown", "keydown"]) {
    window.addEventListener(kind, () => (touched = true), { capture: true, passive: true });
  }
  window.history.pushState = (state, title, address) => {
    const stays = new URL(address, window.location.href).pathname === window.location.pathname;
    (stays && !touched ? replace : push)(state, title, address);
    touched = false;
  };
}

export default function () {
  if (window.lambcHistory) return;
  window.lambcHistory = true;
  listen();
}
