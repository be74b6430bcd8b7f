/*
 * Numbers, times and the words of the product.
 */
import { h, icon } from "./elements.js";

const dash = "–";

export function number(value, digits = 1)
{
	if (value === null || value === undefined)
		return dash;
	return Number(value).toLocaleString("en",
		{ maximumFractionDigits: Math.abs(value) >= 1000 ? 0 : digits });
}

export function money(value, currency)
{
	if (value === null || value === undefined)
		return dash;
	return `${Number(value).toFixed(2)} ${currency ?? ""}`.trim();
}

function two(value)
{
	return String(value).padStart(2, "0");
}

/* With the day where that is not today's. */
export function clock(when, reference = new Date())
{
	const date = when instanceof Date ? when : new Date(when);
	const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

	if (date.toDateString() === reference.toDateString())
		return time;
	return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

export function time(when)
{
	if (when === null || when === undefined)
		return dash;
	return h("time", { datetime: when, title: new Date(when).toISOString() },
		clock(when));
}

export function ago(when)
{
	if (when === null || when === undefined)
		return dash;
	const seconds = Math.max(0, (Date.now() - new Date(when)) / 1000);

	if (seconds < 60)
		return `${Math.floor(seconds)} s ago`;
	if (seconds < 3600)
		return `${Math.floor(seconds / 60)} min ago`;
	if (seconds < 48 * 3600)
		return `${Math.floor(seconds / 3600)} h ago`;
	return `${Math.floor(seconds / 86400)} days ago`;
}

/* The words of qpsscale.status: how each is drawn, and how grave it is. */
const states = {
	"live": ["live", "good"],
	"dry run": ["half", "plain"],
	"disabled": ["off", "faint"],
	"suspended": ["pause", "note"],
	"circuit open": ["stop", "bad"],
	"stock out": ["stop", "bad"],
	"failing": ["warn", "bad"],
	"held": ["hold", "note"],
	"waiting": ["wait", "plain"],
	"needs approval": ["person", "note"],
};

export function status(word)
{
	const [shape, grade] = states[word] ?? ["none", "plain"];

	return h("span", { class: `status ${grade}` }, icon(shape), word);
}

const outcomes = {
	successful: ["live", "good"],
	accepted: ["wait", "plain"],
	requested: ["wait", "plain"],
	unknown: ["warn", "note"],
	failed: ["stop", "bad"],
	superseded: ["none", "faint"],
	"dry_run": ["half", "plain"],
	delivered: ["live", "good"],
	pending: ["wait", "plain"],
	dead: ["stop", "bad"],
	critical: ["stop", "bad"],
	warning: ["warn", "note"],
	info: ["none", "plain"],
	firing: ["warn", "note"],
	"held back": ["hold", "note"],
	"no change": ["none", "faint"],
	"dry run": ["half", "plain"],
};

export function outcome(word)
{
	const [shape, grade] = outcomes[word] ?? ["none", "plain"];

	return h("span", { class: `status ${grade}` }, icon(shape),
		String(word ?? dash).replace("_", " "));
}

/* "scale up" with its arrow; also in the words of /scale/history. */
export function action(word)
{
	const plain = { ScaleUp: "scale_up", ScaleDown: "scale_down",
		NoAction: "none" }[word] ?? word ?? "none";
	const shape = { scale_up: "up", scale_down: "down" }[plain] ?? "none";

	return h("span", { class: `action ${shape}` }, icon(shape),
		plain === "none" ? "no change" : plain.replaceAll("_", " "));
}

export function code(word)
{
	return word === null || word === undefined ? "" : h("code", {}, word);
}

export function change(from, to)
{
	return `${number(from, 0)} → ${number(to, 0)}`;
}

/* What the load of a group is counted in. */
export function unit(group)
{
	return group.driver === "qps" || group.driver === null
		? "requests per second" : group.driver;
}
