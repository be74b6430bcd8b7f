/*
 * The page of all groups: a line each.
 */
import { get } from "./api.js";
import { fill, h, spark } from "./elements.js";
import { action, ago, change, money, number, outcome, status } from "./words.js";

const columns = [["Group", ""], ["Status", ""], ["Load, last hour", "spark-cell"],
	["Load", "number"], ["Instances", "number"], ["Limits", "number optional"],
	["Last verdict", "wide"], ["Last change", "optional"],
	["Cost an hour", "number optional"]];

function line(group)
{
	const shown = group.in_service ?? group.instances;

	return h("tr", {},
		h("th", { scope: "row" }, h("a", { href: `#/group/${group.resource_id}`,
			"data-key": group.resource_id }, group.name),
		h("div", { class: "faint" }, group.provider)),
		h("td", {}, status(group.status)),
		h("td", { class: "spark-cell" }, spark(group.spark.at, group.spark.load,
			`Load of ${group.name} in the last hour`)),
		h("td", { class: "number" }, number(group.load),
			h("div", { class: "faint" }, group.target_load === null ? ""
				: `${number(group.target_load)} ${group.per_instance ? "each" : "wanted"}`)),
		h("td", { class: "number" },
			h("strong", {}, number(shown, 0)),
			group.desired !== null && group.desired !== shown
				? h("span", { title: "desired" }, ` → ${number(group.desired, 0)}`) : null,
			h("div", { class: "faint" }, group.optimal === null ? ""
				: `${number(group.optimal, 0)} needed`)),
		h("td", { class: "number optional" }, group.minimum === null ? "–"
			: `${number(group.minimum, 0)}–${number(group.maximum, 0)}`),
		h("td", { class: "wide" },
			group.blocker === null ? action(group.action)
				: [action(group.wanted), " ", outcome("held back")],
			h("div", { class: "faint clip", title: group.summary ?? "" },
				group.error ?? group.summary ?? "Not evaluated yet.")),
		h("td", { class: "optional" }, group.last_change === null ? "–"
			: [change(group.last_change.from, group.last_change.to),
				h("div", { class: "faint" }, ago(group.last_change.at))]),
		h("td", { class: "number optional", title: group.unpriced },
			money(group.hourly_cost, group.currency)));
}

export class Groups
{
	constructor(page)
	{
		this.page = page;
		this.after = [];		/* where each page before this one began */
		this.filter = "";
		this.body = h("tbody");
		this.facts = h("div", { class: "facts" });
		this.problems = h("div", {});
		this.paging = h("div", { class: "paging" });
		this.none = h("p", { class: "empty", hidden: true });
		this.element = h("div", {},
			h("div", { class: "title" }, h("h1", {}, "Groups"),
				h("label", { class: "filter" }, "Filter ",
					h("input", { type: "search", "data-key": "filter",
						placeholder: "name, status or reason",
						oninput: event => {
							this.filter = event.target.value.toLowerCase();
							this.show();
						} }))),
			this.facts, this.problems,
			h("div", { class: "scroll", tabindex: 0, role: "region",
				"aria-label": "Groups" },
				h("table", { class: "groups" },
					h("caption", { class: "hidden" }, "Groups and how they are doing"),
					h("thead", {}, h("tr", {}, columns.map(([title, style]) =>
						h("th", { scope: "col", class: style }, title)))),
					this.body)),
			this.none, this.paging);
	}

	async load(signal)
	{
		this.answer = await get("/groups",
			{ limit: 100, after: this.after[this.after.length - 1] }, signal);
		this.page.health(this.answer);
		this.show();
	}

	show()
	{
		const { groups, problems, totals } = this.answer;
		const shown = groups.filter(group => [group.name, group.status,
			group.reason, group.provider].join(" ").toLowerCase()
			.includes(this.filter));

		fill(this.facts,
			[["groups", totals.total], ["live", totals.live],
				["failing", totals.failing], ["suspended", totals.suspended],
				["late", totals.late]].map(([word, count]) =>
				h("span", { class: count > 0 && ["failing", "late"].includes(word)
					? "fact bad" : "fact" }, h("strong", {}, number(count, 0)), ` ${word}`)));
		fill(this.problems, problems.length === 0 ? null
			: h("details", { class: "notes" },
				h("summary", { "data-key": "problems" },
					`${problems.length} ${problems.length === 1 ? "note" : "notes"} on this database`),
				h("ul", {}, problems.map(note => h("li", {}, note.problem,
					note.hint ? h("div", { class: "faint" }, note.hint) : null)))));
		if (this.opened)
			this.problems.querySelector("details")?.setAttribute("open", "");
		this.problems.querySelector("details")?.addEventListener("toggle", event => {
			this.opened = event.target.open;
		});
		fill(this.body, shown.map(line));
		this.none.hidden = shown.length > 0;
		this.none.textContent = groups.length > 0
			? "No group on this page fits the filter."
			: "There is no group yet. INSERT INTO qpsscale.resource_groups makes one; the quick start of the manual shows how.";
		fill(this.paging,
			this.after.length > 0 ? h("button", { type: "button", "data-key": "back",
				onclick: () => { this.after.pop(); this.page.reload(); } }, "Back") : null,
			this.answer.next !== null ? h("button", { type: "button", "data-key": "more",
				onclick: () => { this.after.push(this.answer.next); this.page.reload(); } },
			"Next 100") : null);
	}

	restyle() {}
	close() {}
}
