/*
 * The Why panel: what was seen, what that takes, what each limit made of it in
 * order, and what came out.  Everything is in the explanation; here it is only
 * laid out.
 */
import { h } from "./elements.js";
import { action, clock, code, number } from "./words.js";

/* inputs.load and inputs.signals */
function seen(inputs)
{
	const items = [];
	const { load, capacity, signals } = inputs ?? {};

	if (load?.known)
		items.push(`Load ${number(load.mean_qps)} requests per second, from ${load.points} of ${load.expected_points} points`);
	else if (load !== undefined)
		items.push("The load was not known");
	for (const signal of signals ?? [])
	{
		items.push(`Signal ${signal.name}: ${signal.state === "known"
			? number(signal.value) : signal.state}`
			+ (signal.target === undefined || signal.target === null ? ""
				: `, target ${number(signal.target)}`));
	}
	if (capacity?.known)
		items.push(`${number(capacity.desired, 0)} desired, ${number(capacity.total, 0)} in the group`
			+ (capacity.in_service === null || capacity.in_service === undefined ? ""
				: `, ${number(capacity.in_service, 0)} in service`)
			+ `; ${number(capacity.min, 0)} to ${number(capacity.max, 0)} allowed`);
	else if (capacity !== undefined)
		items.push("The state of the group in the cloud was not known");
	return items;
}

function proposals(explanation)
{
	return (explanation.proposals ?? []).map(proposal => {
		const wins = explanation.winner === proposal.source
			&& explanation.proposals.length > 1;

		return h("span", {},
			h("span", { class: "formula" }, proposal.target > 0
				? `${proposal.source}: ${number(proposal.load)} ÷ ${number(proposal.target)} = ${number(proposal.instances, 0)} instances`
				: `${proposal.source}: ${number(proposal.instances, 0)} instances`),
			wins ? h("span", { class: "tag" }, "wins") : null);
	});
}

function clamps(explanation)
{
	return (explanation.clamps ?? []).map(clamp => h("span", {}, code(clamp.by),
		` ${number(clamp.limit, 0)}: `, h("strong", {},
			`${number(clamp.from, 0)} → ${number(clamp.to, 0)}`)));
}

function list(title, items, none)
{
	return h("li", {}, h("h3", {}, title), items.length > 0
		? h("ul", {}, items.map(item => h("li", {}, item)))
		: h("p", { class: "faint" }, none));
}

/* of any decision: recorded, or of a what-if */
export function steps(explanation, verdict)
{
	return h("ol", { class: "steps" },
		list("Seen", seen(explanation.inputs), "Nothing was observed."),
		list("Needed", proposals(explanation), "Nothing could be proposed."),
		list("Limited, in order", clamps(explanation), "No limit changed the number."),
		h("li", { class: "verdict" }, h("h3", {}, "Verdict"), verdict));
}

export function why(answer)
{
	const { summary, details } = answer;

	if (details.explanation === null)
		return h("p", { class: "empty" }, summary);
	const blocked = details.explanation.blocked_until;

	return h("div", {},
		steps(details.explanation, h("div", {},
			h("p", {}, action(details.action),
				details.action === "none" ? null
					: h("strong", {}, ` to ${number(details.desired, 0)}`),
				" ", code(details.reason)),
			details.blocker === null ? null : h("p", {}, "Wanted: ",
				action(details.explanation.wanted),
				blocked ? `; held back until ${clock(blocked)}` : "; held back"),
			h("p", {}, details.explanation.summary ?? ""),
			details.dry_run ? h("p", { class: "faint" },
				"Dry run: nothing was changed in the cloud.") : null)),
		h("details", {}, h("summary", { "data-key": "in words" }, "In one paragraph"),
			h("p", { class: "paragraph" }, summary)));
}
