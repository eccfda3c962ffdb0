// The table of runs: sorted by a click on a heading; a row of published figures stays below its run.

function sortTable(table, at, descending) {
  const body = table.tBodies[0];
  const groups = [];
  for (const row of body.rows) {
    if (row.classList.contains("reference") && groups.length) groups.at(-1).push(row);
    else groups.push([row]);
  }
  const value = (group) => group[0].cells[at].dataset.value;
  const numbers = groups.map(value).filter((text) => text !== "").every((text) => Number.isFinite(Number(text)));
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    // What is not known comes last, whichever way.
    if (x === "" || y === "") return (x === "") - (y === "");
    const sign = descending ? -1 : 1;
    return sign * (numbers ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
  };
  body.append(...groups.sort(order).flat());
  [...table.tHead.rows[0].cells].forEach((cell, other) =>
    cell.setAttribute("aria-sort", other !== at ? "none" : descending ? "descending" : "ascending"));
}

function listenToTable() {
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, at) => {
      cell.querySelector("button").onclick = () => sortTable(table, at, cell.getAttribute("aria-sort") === "ascending");
    });
  }
}

// Rows of runs that are switched off are hidden, with what is published of them.
function showRows() {
  for (const table of document.querySelectorAll("table.sortable")) {
    let hidden = false;
    for (const row of table.tBodies[0].rows) {
      if (row.dataset.run !== undefined) hidden = state.off.has(row.dataset.run);
      row.hidden = hidden;
    }
  }
}
