// Streamlit makes an entry in the browser's history of each word that the server adds to the address. A step back should
// take back one change of the reader's: what the page completes by itself belongs to the entry that is there.
//
// Streamlit tells the server of a step, but forgets it where anything else asks for the page meanwhile. So a step within a
// page is a state here, which every request brings along until the browser has the whole answer; what answers say of the
// address until then is from before the step. A step to another page loads that page anew.

function listen() {
  const push = window.history.pushState.bind(window.history);
  const replace = window.history.replaceState.bind(window.history);
  const record = { went: { turn: 0, seen: true }, page: undefined };
  let path = window.location.pathname;
  let touched = false;
  let leaving = false;
  const write = (state, title, address) => {
    const stays = new URL(address ?? "", window.location.href).pathname === window.location.pathname;
    if (leaving || (stays && !record.went.seen)) return;
    (touched ? push : replace)(state, title, address); // a click that opens a page writes twice: what it shows, and where
    touched = false;
    path = window.location.pathname;
  };
  const tell = (went) => {
    record.went = went;
    record.setStateValue("went", went);
  };
  const stepBack = (event) => {
    touched = false; // by the keys for it
    if (path === window.location.pathname) {
      const address = window.location.search.slice(1);
      tell({ turn: record.went.turn + 1, seen: false, page: record.page, address });
    } else {
      leaving = true;
      event.stopImmediatePropagation();
      window.location.reload();
    }
  };
  record.answer = ({ turn, page }) => {
    record.page = page;
    if (turn === record.went.turn && !record.went.seen) tell({ ...record.went, seen: true });
  };
  for (const kind of ["pointerdown", "keydown"]) {
    window.addEventListener(kind, () => (touched = true), { capture: true, passive: true });
  }
  window.addEventListener("popstate", stepBack, { capture: true }); // before Streamlit's own
  window.history.pushState = window.history.replaceState = write;
  return record;
}

export default function ({ data, setStateValue }) {
  window.lambcHistory ??= listen();
  const record = window.lambcHistory;
  if (!data.answered) record.setStateValue = setStateValue;
  else requestAnimationFrame(() => setTimeout(() => record.answer(data.answered))); // once the widgets have it, too
}
