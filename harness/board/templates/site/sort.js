// Makes the columns of a table sortable. Without it every table is there, in the order of the files.
"use strict";

function keyOf(row, column) {
  const cell = row.cells[column];
  const given = cell.dataset.value;
  return given === undefined ? cell.textContent.trim() : Number(given);
}

function compare(a, b, sign) {
  const missing = (key) => key === "" || key === "–";
  if (missing(a) || missing(b)) return missing(a) - missing(b); // what is not there comes last, whatever the direction
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, column) {
  const heads = table.tHead.rows[0].cells;
  const direction = heads[column].getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const rows = Array.from(table.tBodies[0].rows, (row) => [keyOf(row, column), row]);
  rows.sort((a, b) => compare(a[0], b[0], sign));
  table.tBodies[0].append(...rows.map((pair) => pair[1]));
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column));
    head.append(button);
  });
}
