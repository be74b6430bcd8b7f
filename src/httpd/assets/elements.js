/*
 * Elements of a page.  Text becomes text and never markup: what a group is
 * called, or a cloud answered, is written by others.
 */

export function h(tag, attributes = {}, ...children)
{
	const element = document.createElement(tag);

	for (const [name, value] of Object.entries(attributes))
	{
		if (value === null || value === undefined || value === false)
			continue;
		if (name.startsWith("on"))
			element.addEventListener(name.slice(2), value);
		else
			element.setAttribute(name, value === true ? "" : value);
	}
	add(element, children);
	return element;
}

function add(element, children)
{
	for (const child of children.flat(Infinity))
	{
		if (child !== null && child !== undefined && child !== false)
			element.append(child);
	}
}

/* Other content for an element; who had the focus in it keeps it. */
export function fill(element, ...children)
{
	const key = element.contains(document.activeElement)
		? document.activeElement.dataset.key : undefined;

	element.replaceChildren();
	add(element, children);
	if (key !== undefined)
		element.querySelector(`[data-key="${CSS.escape(key)}"]`)
			?.focus({ preventScroll: true });
}

/* A table: its columns are [title, class], its rows lists of cells. */
export function table(caption, columns, rows, attributes = {})
{
	return h("div", { class: "scroll", tabindex: 0, role: "region",
		"aria-label": caption, "data-key": `scroll ${caption}` },
		h("table", attributes,
			h("caption", { class: "hidden" }, caption),
			h("thead", {}, h("tr", {}, columns.map(([title, style]) =>
				h("th", { scope: "col", class: style }, title)))),
			h("tbody", {}, rows.map(row => h("tr", {}, row.map((cell, i) =>
				cell instanceof HTMLTableCellElement ? cell
					: h("td", { class: columns[i][1] }, cell)))))));
}

/* Drawn in a field of 16 by 16. */
const shapes = {
	live: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm-1 9L4 8l1-1 2 2 4-4 1 1z",
	half: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2v8a4 4 0 0 1 0-8z",
	pause: "M4 3h3v10H4zM9 3h3v10H9z",
	warn: "M8 1.5 15 14H1zM7.2 6v4h1.6V6zm0 5v1.6h1.6V11z",
	stop: "M5 2h6l3 3v6l-3 3H5l-3-3V5zm.6 3L5 5.6 7.4 8 5 10.4l.6.6L8 8.6l2.4 2.4.6-.6L8.6 8 11 5.6l-.6-.6L8 7.4z",
	hold: "M4 7V5a4 4 0 0 1 8 0v2h1v7H3V7zm1.6 0h4.8V5a2.4 2.4 0 0 0-4.8 0z",
	off: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.6a4.4 4.4 0 1 1 0 8.8 4.4 4.4 0 0 1 0-8.8z",
	wait: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm-.8 2.5h1.6v3.2l2.2 1.3-.8 1.4-3-1.8z",
	up: "M8 3l5 6H9.6v4H6.4V9H3z",
	down: "M8 13 3 7h3.4V3h3.2v4H13z",
	none: "M3 7h10v2H3z",
	person: "M8 2a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM3 14c0-3 2-5 5-5s5 2 5 5z",
};

export function icon(name)
{
	const space = "http://www.w3.org/2000/svg";
	const svg = document.createElementNS(space, "svg");
	const path = document.createElementNS(space, "path");

	svg.setAttribute("viewBox", "0 0 16 16");
	svg.setAttribute("aria-hidden", "true");
	svg.classList.add("icon");
	path.setAttribute("d", shapes[name] ?? shapes.none);
	path.setAttribute("fill-rule", "evenodd");
	svg.append(path);
	return svg;
}

/* The course of a value without axes, for a line of a list. */
export function spark(at, values, label)
{
	const space = "http://www.w3.org/2000/svg";
	const svg = document.createElementNS(space, "svg");
	const known = values.filter(value => value !== null);
	const most = Math.max(...known, 1e-9);
	const width = 120, height = 28;
	const first = at[0], length = Math.max(at[at.length - 1] - first, 1e-9);
	let d = "", joined = false;

	svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
	svg.setAttribute("role", "img");
	svg.setAttribute("aria-label", label);
	svg.setAttribute("preserveAspectRatio", "none");
	svg.classList.add("spark");
	values.forEach((value, i) => {
		if (value === null)
		{
			joined = false;
			return;
		}
		const x = 1 + (at[i] - first) / length * (width - 2);
		const y = height - 2 - value / most * (height - 4);
		d += `${joined ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
		joined = true;
	});
	if (known.length > 1)
	{
		const path = document.createElementNS(space, "path");
		path.setAttribute("d", d);
		svg.append(path);
	}
	return svg;
}
