/*
 * The page around the pages: which one is shown, how often it asks, and what
 * is said when nobody answers.
 */
import { setToken, token } from "./api.js";
import { fill, h, icon } from "./elements.js";
import { Group } from "./group.js";
import { Groups } from "./groups.js";
import { Alerts, Errors, History } from "./lists.js";
import { clock } from "./words.js";

const poll_ms = 5000;
const main = document.getElementById("main");
const banner = document.getElementById("banner");
const leave = document.getElementById("leave");

let view = null;				/* the page that is shown */
let timer, asking, answered;

const pages = [
	[/^#\/group\/([^/]+)$/, id => new Group(page, decodeURIComponent(id))],
	[/^#\/history$/, () => new History(page)],
	[/^#\/errors$/, () => new Errors(page)],
	[/^#\/alerts$/, () => new Alerts(page)],
	[/^/, () => new Groups(page)],
];

const words = {
	ok: ["live", "good", "All is well"],
	degraded: ["warn", "note", "Degraded"],
	down: ["stop", "bad", "Not scaling"],
	standby: ["off", "note", "Standby"],
};

/* What pages may ask of what is around them. */
const page = {
	reload()
	{
		refresh();
	},
	health(answer)
	{
		const [shape, grade, text] = words[answer.health] ?? ["none", "plain", answer.health];

		fill(document.getElementById("health"),
			h("span", { class: `status ${grade}` }, icon(shape), text));
		document.getElementById("footer").textContent =
			`qpsscale ${answer.version} · database ${answer.database} · role ${answer.role} · `
			+ `times are of ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
	},
	fail(error)
	{
		failed(error);
	},
};

function say(text, hint)
{
	banner.hidden = text === null;
	fill(banner, text, hint ? h("small", {}, ` ${hint}`) : null);
}

function failed(error)
{
	if (error.name === "AbortError")
		return;
	if (error.status === 401)
	{
		setToken(null);
		askForToken(error);
		return;
	}
	say(error.status === 0 && answered
		? `${error.message} What is shown is of ${clock(answered)}; trying again.`
		: error.message, error.hint);
	if (!answered || error.status === 403 || error.status === 404)
		fill(main, h("p", { class: "empty" }, error.status === 403
			? "This token's role may not see that."
			: error.status === 404 ? "That group does not exist."
				: "Nothing to show yet."));
	document.body.classList.toggle("stale", error.status === 0);
}

/* One question at a time; the next one some seconds after its answer. */
async function refresh()
{
	clearTimeout(timer);
	asking?.abort();
	if (view === null)
		return;
	const mine = asking = new AbortController();
	const shown = view;

	try
	{
		await shown.load(mine.signal);
		if (shown !== view)
			return;
		answered = new Date();
		say(null);
		document.body.classList.remove("stale");
		if (!main.contains(shown.element))
			fill(main, shown.element);
		document.getElementById("fresh").textContent = `Updated ${clock(answered)}`;
	}
	catch (error)
	{
		if (shown === view)
			failed(error);
	}
	if (mine === asking && view !== null && !document.hidden)
		timer = setTimeout(refresh, poll_ms);
}

function open()
{
	const [make, groups] = pages.map(([pattern, maker]) =>
		[maker, location.hash.match(pattern)]).find(([, found]) => found);

	view?.close();
	view = null;
	if (token() === null)
	{
		askForToken();
		return;
	}
	leave.hidden = false;
	answered = undefined;
	document.title = "qpsscale";
	for (const link of document.querySelectorAll("#nav a"))
	{
		const here = link.hash === (location.hash || "#/")
			|| (link.hash === "#/" && location.hash.startsWith("#/group/"));

		if (here)
			link.setAttribute("aria-current", "page");
		else
			link.removeAttribute("aria-current");
	}
	view = make(groups[1]);
	/* in place before it has data, so that charts know how wide they are */
	fill(main, view.element);
	view.element.classList.add("loading");
	const shown = view;

	refresh().then(() => shown.element.classList.remove("loading"));
}

function askForToken(error)
{
	view?.close();
	view = null;
	leave.hidden = true;
	say(null);
	fill(document.getElementById("health"));
	document.getElementById("fresh").textContent = "";
	const input = h("input", { id: "token", name: "token", type: "password",
		autocomplete: "off", spellcheck: "false", required: true,
		"aria-describedby": "token-help" });

	fill(main, h("form", { class: "panel token", onsubmit: event => {
		event.preventDefault();
		setToken(input.value.trim());
		open();
	} },
	h("h1", {}, "Token"),
	error ? h("p", { class: "notice bad", role: "alert" },
		"That token was not accepted: it is unknown, expired or revoked.") : null,
	h("label", { for: "token" }, "Bearer token"), input,
	h("p", { id: "token-help", class: "faint" },
		"An admin makes one with ", h("code", {}, "SELECT * FROM qpsscale_create_token(role, name)"),
		". It stays in this tab and is forgotten when the tab is closed."),
	h("button", { type: "submit" }, "Open the dashboard")));
	input.focus();
}

/* Light, dark, or as the system has it. */
const themes = ["system", "light", "dark"];
const theme = document.getElementById("theme");

function setTheme(word)
{
	document.documentElement.dataset.theme = word;
	theme.textContent = `Theme: ${word}`;
	localStorage.setItem("qpsscale.theme", word);
	view?.restyle();
}

theme.addEventListener("click", () => setTheme(themes[
	(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]));
setTheme(themes.includes(localStorage.getItem("qpsscale.theme"))
	? localStorage.getItem("qpsscale.theme") : "system");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change",
	() => view?.restyle());

leave.addEventListener("click", () => {
	setToken(null);
	askForToken();
});
document.addEventListener("visibilitychange", () => {
	clearTimeout(timer);
	if (!document.hidden)
		refresh();
});
window.addEventListener("hashchange", () => {
	open();
	main.focus({ preventScroll: true });
	scrollTo(0, 0);
});
/* the skip link is no page */
document.querySelector(".skip").addEventListener("click", event => {
	event.preventDefault();
	main.focus();
});
open();
