// Streamlit makes an entry in the browser's history of each word that the server adds to the address. A step back should
// take back one change of the reader's: what the page completes by itself belongs to the entry that is there.
//
// Streamlit also tells the server of a step back, but forgets it where anything else asks for the page meanwhile. So a
// step back is a state here, which every request brings along until the browser has the whole answer to it.

// The page that the address leads to, as the server calls it.
function here() {
  return window.location.pathname.split("/").pop();
}

function listen() {
  const push = window.history.pushState.bind(window.history);
  const replace = window.history.replaceState.bind(window.history);
  const record = { went: { turn: 0, seen: true } };
  let touched = false;
  let page = here();
  for (const kind of ["pointerdown", "keydown"]) {
    window.addEventListener(kind, () => (touched = true), { capture: true, passive: true });
  }
  window.history.pushState = (state, title, address) => {
    const stays = new URL(address, window.location.href).pathname === window.location.pathname;
    (stays && !touched ? replace : push)(state, title, address);
    touched = false;
    page = here();
  };
  const tell = (went) => {
    record.went = went;
    record.setStateValue("went", went);
  };
  const stepBack = () => {
    touched = false; // by the keys for it
    const stays = page === here(); // of a step to another page Streamlit forgets nothing
    page = here();
    if (stays) tell({ turn: record.went.turn + 1, seen: false, page, address: window.location.search.slice(1) });
  };
  record.answered = ({ turn, page }) => {
    if (page === here() && turn === record.went.turn && !record.went.seen) tell({ ...record.went, seen: true });
  };
  window.addEventListener("popstate", stepBack, { capture: true }); // before Streamlit's own
  return record;
}

export default function ({ data, setStateValue }) {
  window.lambcHistory ??= listen();
  const record = window.lambcHistory;
  if (!data.answered) record.setStateValue = setStateValue;
  else requestAnimationFrame(() => setTimeout(() => record.answered(data.answered))); // once the widgets have it, too
}
