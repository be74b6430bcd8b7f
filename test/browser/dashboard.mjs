/*
 * The dashboard in a browser, by mouse and by keyboard, in both themes.  Prints
 * "ok NAME" or "not ok NAME" for each promise, what was seen after the latter.
 * Started by test/t/073_dashboard.pl, which has made the groups that it looks
 * at and says in the environment where the server is.
 */
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";

const { URL: url, OPERATOR, READER, HTTPD_PID, MODULES, SCREENSHOTS } = process.env;
const require = createRequire(`${MODULES}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const patience = 15000;
const complaints = [];

function report(good, name, seen = "")
{
	console.log(`${good ? "ok" : "not ok"} ${name}`);
	if (!good)
		console.log(`# ${JSON.stringify(seen)}`.slice(0, 2000));
}

function is(seen, wanted, name)
{
	report(JSON.stringify(seen) === JSON.stringify(wanted), name, { seen, wanted });
}

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium",
	args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });

/* A page whose complaints are collected, but those about answers, which are meant. */
async function newPage(options = {})
{
	const context = await browser.newContext({ viewport: { width: 1360, height: 900 },
		acceptDownloads: true, ...options });
	const page = await context.newPage();

	page.setDefaultTimeout(patience);
	page.on("console", message => {
		if (message.type() !== "log" && !/Failed to load resource/.test(message.text()))
			complaints.push(message.text());
	});
	page.on("pageerror", error => complaints.push(error.stack));
	await page.addInitScript(() => {
		window.violations = [];
		document.addEventListener("securitypolicyviolation", event =>
			window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
	});
	return page;
}

async function signIn(page, token)
{
	await page.goto(url);
	await page.fill("#token", token);
	await page.keyboard.press("Enter");
	await page.waitForSelector(".groups tbody tr");
}

/*
 * axe is put in through the driver, which the page's policy does not bind; it
 * looks at the page as it is, in its theme.
 */
async function accessible(page, name)
{
	await page.evaluate(axe);
	/* colours that are on their way to another theme are none to be judged */
	await page.evaluate(() => Promise.all(document.getAnimations()
		.filter(animation => animation.effect?.getComputedTiming().endTime < Infinity)
		.map(animation => animation.finished.catch(() => null))));
	const found = await page.evaluate(() => window.axe.run(document, {
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));

	is(found.violations.map(violation =>
		`${violation.id}: ${violation.nodes.map(node => node.html).slice(0, 3)}`), [],
	`axe finds nothing: ${name}`);
}

async function picture(page, name)
{
	await page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage: true });
}

async function focused(page)
{
	return page.evaluate(() => document.activeElement.dataset.key
		?? document.activeElement.id ?? document.activeElement.tagName);
}

/* Tab until what is wanted has the focus. */
async function tabTo(page, key)
{
	for (let i = 0; i < 80; i++)
	{
		if (await focused(page) === key)
			return true;
		await page.keyboard.press("Tab");
	}
	return false;
}

const tests = {
	async "wrong token"()
	{
		const page = await newPage();

		await page.goto(url);
		await accessible(page, "asking for a token");
		await picture(page, "token");
		await page.fill("#token", "qps_1_wrong");
		await page.keyboard.press("Enter");
		await page.waitForSelector("[role=alert]");
		report(/not accepted/.test(await page.textContent("[role=alert]")),
			"a wrong token is said to be wrong");
		is(await page.evaluate(() => [Object.values(sessionStorage), document.cookie]),
			[[], ""], "and is not kept");
		is(await page.locator("tbody tr").count(), 0, "nothing is shown for it");
		await page.context().close();
	},

	async "groups by mouse"()
	{
		const page = await newPage({ colorScheme: "light" });

		await signIn(page, OPERATOR);
		const row = page.locator(".groups tbody tr", { hasText: "web" }).first();

		is(await page.locator(".groups tbody th a").allTextContents(),
			["<img src=x onerror=alert(1)>", "asks", "calm", "web"],
			"all groups, and what looks like markup is text");
		is(await page.locator("main img").count(), 0, "none of it became an element");
		report(/suspended/.test(await page.locator(".groups tbody tr",
			{ hasText: "calm" }).textContent()), "a suspended group is called that");
		report((await row.locator(".spark path").getAttribute("d")).length > 10,
			"a spark line is drawn");
		report(/each/.test(await row.textContent()), "beside the target");
		report(/\d\.\d\d USD/.test(await row.textContent()), "what it costs an hour",
			await row.textContent());
		is(await page.locator(".groups tbody tr", { hasText: "calm" }).locator("td")
			.last().textContent(), "–", "which without a price is nothing, and not 0");
		await accessible(page, "groups, light");
		await picture(page, "groups-light");

		await page.fill("input[type=search]", "susp");
		is(await page.locator(".groups tbody th a").allTextContents(), ["calm"],
			"the filter looks at status words");
		await page.fill("input[type=search]", "nothing has this name");
		report(await page.getByText("No group on this page fits").isVisible(),
			"an empty list says why");
		await page.fill("input[type=search]", "");

		/* what is polled does not take the focus away */
		await page.focus(".groups tbody tr:last-child a");
		const before = await focused(page);
		const fresh = await page.textContent("#fresh");
		await page.waitForFunction(old =>
			document.getElementById("fresh").textContent !== old, fresh);
		is(await focused(page), before, "the focus outlives an update");

		await row.locator("a").click();
		await page.waitForSelector(".steps");
		is(await page.textContent("h1"), "web", "a click leads to the group");
		await page.context().close();
	},

	async "a group by mouse"()
	{
		const page = await newPage({ colorScheme: "light" });

		await signIn(page, OPERATOR);
		await page.click('.groups a:text-is("web")');
		await page.waitForSelector(".steps");
		await page.waitForFunction(() =>
			document.querySelector(".chart").u?.data[0].length > 2);
		await accessible(page, "group, light");
		await picture(page, "group-light");

		await page.getByRole("button", { name: "6 hours" }).click();
		await page.waitForFunction(() => {
			const { u, chart } = document.querySelector(".chart");

			return u.data[1 + chart.lines.findIndex(line => line.key === "forecast")]
				.some(value => value >= 0);
		});
		const band = await page.locator(".chart").first().evaluate(element => {
			const of = key => element.u.data[1
				+ element.chart.lines.findIndex(line => line.key === key)];
			const [mean, low, high] = ["forecast", "low", "high"].map(of);

			return { points: mean.filter(value => value >= 0).length,
				ordered: mean.every((value, i) => !(value >= 0)
					|| (low[i] <= value && value <= high[i])) };
		});
		report(band.points > 0 && band.ordered,
			"what is forecast is drawn within its band", band);
		await picture(page, "group-forecast");
		await page.getByRole("button", { name: "1 hour" }).click();
		await page.waitForFunction(() => document.querySelector(".chart").u?.data[0].length > 2);

		for (const [nr, title] of [[0, "load"], [1, "instances"]])
		{
			const chart = page.locator(".chart").nth(nr);

			await chart.getByRole("button", { name: "Table" }).click();
			/* in one go, between two updates */
			const { drawn, told } = await chart.evaluate(element => ({
				drawn: element.u.data[0].map((at, i) => element.chart.lines
					.map((line, l) => element.chart.valueAt(l, i))),
				told: [...element.querySelectorAll(".numbers tbody tr")].map(row =>
					[...row.cells].slice(1).map(cell => cell.textContent)),
			}));

			report(drawn.length > 2 && JSON.stringify(drawn) === JSON.stringify(told),
				`${title}: the table has the chart's values`, { drawn, told });
			const csv = await chart.evaluate(element => element.chart.csv());
			const values = await chart.evaluate(element =>
				element.u.data.slice(1).map(line => line.map(value => value ?? null)));

			is(csv.trim().split("\r\n").slice(1).map(line => line.split(",").slice(1)
				.map(cell => cell === "" ? null : Number(cell))),
			values[0].map((_, i) => values.map(line => line[i])),
			`${title}: so has the CSV`);
			await picture(page, `table-${title}`);
			await chart.getByRole("button", { name: "Table" }).click();
		}
		const [download] = await Promise.all([page.waitForEvent("download"),
			page.locator(".chart").first().getByRole("button", { name: "CSV" }).click()]);
		is(download.suggestedFilename(), "load-and-usable-capacity.csv", "and it is a file");

		/* the cursor is one for both charts, and a click explains the moment */
		await page.locator(".chart .u-over").first().hover({ position: { x: 300, y: 60 } });
		const at = await page.evaluate(() => [...document.querySelectorAll(".chart")]
			.slice(0, 2).map(chart => chart.u.cursor.left));
		report(at[0] > 0 && Math.abs(at[0] - at[1]) < 2, "both charts have one cursor", at);
		await page.locator(".chart .u-over").first().click({ position: { x: 300, y: 60 } });
		await page.waitForFunction(() => /^Whyat /.test(
			document.querySelector("[aria-label=Why] .panel-head").textContent));
		report(true, "a click has its moment explained");
		await page.click("[aria-label=Why] button:text-is('Now')");

		/* what was done is explained by formula and limits */
		const action = page.locator("section.panel", { hasText: "Timeline" })
			.locator("tr", { hasText: "dynamic_scaling_limited_scale_up" }).first();
		await action.locator("button").click();
		await page.waitForFunction(() => /max_scale_up/.test(
			document.querySelector("[aria-label=Why]").textContent));
		const why = await page.textContent("[aria-label=Why]");
		report(/qps: [\d.,]+ ÷ 50 = \d+ instances/.test(why), "Why has the formula", why);
		report(/Limited, in order.*\d+ → \d+/s.test(why), "and what limited it", why);

		await page.fill("[name=qps]", "1234");
		await page.click("button:text-is('Decide')");
		await page.waitForSelector("form ~ [aria-live] .steps");
		const answer = await page.textContent("form ~ [aria-live]:has(.steps)");
		report(/1,234 ÷ 50 = 25 instances/.test(answer), "a what-if is answered", answer);
		report(/1\.50 USD an hour/.test(answer), "and what it would cost", answer);
		await picture(page, "what-if");
		await page.context().close();
	},

	async "backtest"()
	{
		const page = await newPage({ colorScheme: "light" });

		await signIn(page, READER);
		await page.click('.groups a:text-is("web")');
		await page.waitForSelector(".steps");
		const panel = page.locator("section[aria-label=Backtest]");

		report(await panel.locator(".chart").count() === 0, "nothing is played unasked");
		await panel.locator("[name=prediction_mode]").selectOption("off");
		await panel.locator("[name=max_instances]").fill("7");
		await panel.getByRole("button", { name: "Play", exact: true }).click();
		await panel.locator("tbody tr").first().waitFor();
		const rows = await panel.locator("table", { hasText: "this policy" })
			.locator("tbody tr").evaluateAll(found => found.map(row =>
				[...row.cells].map(cell => cell.textContent)));

		is(rows.map(row => row[0]), ["this policy", "without prediction",
			"with prediction", "first original's rule", "Kubernetes' HPA",
			"AWS' target tracking", "Knative's autoscaler", "best fixed number",
			"who knows the future"], "the recorded load is played by nine policies");
		is(rows[0].slice(1), rows[1].slice(1), "this one with the values that were typed");
		report(Number(rows[0][1]) > 20, "which do not suffice a third of the time", rows[0]);
		is([rows[8][1], rows[8][4]], ["0", "1"], "who knows the future is the measure");
		report(/Load above capacity [\d.]+ % of the time.*scored from/.test(
			await panel.locator("[aria-live]").first().textContent()), "a sentence sums it up");
		const drawn = await panel.locator(".chart").evaluate(element =>
			element.u.data.map(line => Math.max(...line.filter(value => value !== null))));

		/* two are there when the load comes, and carry 100 */
		is([drawn[1], drawn[2], drawn[3]], [800, 350, 700],
			"the chart has load, capacity and what of it was lacking");
		await accessible(page, "backtest, light");
		await picture(page, "backtest");

		/* what was played stays when the page asks anew */
		const fresh = await page.textContent("#fresh");
		await page.waitForFunction(old =>
			document.getElementById("fresh").textContent !== old, fresh);
		is(await panel.locator("[name=max_instances]").inputValue(), "7",
			"it stays when the page is updated");
		report(await panel.locator(".chart").count() === 1, "with its chart");

		await page.goto(url);
		await page.click('.groups a:text-is("<img src=x onerror=alert(1)>")');
		await page.waitForSelector("section[aria-label=Backtest]");
		await panel.getByRole("button", { name: "Play", exact: true }).click();
		await panel.locator(".notice.bad").waitFor();
		report(/no load of resource group \d+ was recorded/.test(
			await panel.locator(".notice.bad").textContent()),
		"a group without a past is told to have none");
		await page.context().close();
	},

	async "suspend and resume"()
	{
		const page = await newPage();

		await signIn(page, OPERATOR);
		await page.click('.groups a:text-is("web")');
		await page.waitForSelector(".steps");
		await page.selectOption("[name=direction]", "down");
		await page.fill("[name=reason]", "a <b>sale</b>");
		await page.click("button:text-is('Suspend')");
		await page.waitForSelector(".title .status:has-text('suspended')");
		report(/a <b>sale<\/b>/.test(await page.textContent("main .notice")),
			"a suspended group says why, in the words given");
		await page.click("button:text-is('Resume')");
		await page.waitForSelector(".title .status:not(:has-text('suspended'))");
		report(true, "and is resumed");
		await page.context().close();
	},

	async "what waits for a person"()
	{
		const page = await newPage();

		await signIn(page, OPERATOR);
		await page.click('.groups a:text-is("asks")');
		await page.waitForSelector("[data-key=approve]");
		report(/Waits for a person.*scale up 2 → 3/.test(await page.textContent(".notice.ask")),
			"what waits for a person says what it is", await page.textContent(".notice.ask"));
		await accessible(page, "what waits for a person");
		await picture(page, "approval");
		await page.click("[data-key=approve]");
		await page.waitForSelector(".notice.good:text-is('Done.')");
		await page.waitForSelector(".figures:has-text('2 → 3')");
		report(true, "and is done by it");
		await page.context().close();
	},

	async "all by keyboard, dark"()
	{
		const page = await newPage({ colorScheme: "dark" });

		await page.goto(url);
		await page.keyboard.type(OPERATOR);
		await page.keyboard.press("Enter");
		await page.waitForSelector(".groups tbody tr");
		await accessible(page, "groups, dark");
		await picture(page, "groups-dark");
		const id = await page.getAttribute('.groups a:text-is("web")', "data-key");

		report(await tabTo(page, id), "a group is reached by Tab", await focused(page));
		await page.keyboard.press("Enter");
		await page.waitForSelector(".steps");
		await page.waitForFunction(() =>
			document.querySelector(".chart").u?.data[0].length > 2);
		await accessible(page, "group, dark");
		await picture(page, "group-dark");

		report(await tabTo(page, "chart Load and usable capacity"),
			"the chart is reached by Tab", await focused(page));
		const spoken = page.locator(".chart p[aria-live]").first();

		await page.keyboard.press("Home");
		const first = await spoken.textContent();
		report(/^[\d: -]+: load [\d.,–]+, usable capacity /.test(first),
			"the cursor reads its values out", first);
		/* neighbours within a second may read the same */
		for (let i = 0; i < 5 && await spoken.textContent() === first; i++)
			await page.keyboard.press("ArrowRight");
		report(await spoken.textContent() !== first, "arrows move it", first);
		await page.keyboard.press("Enter");
		await page.waitForFunction(() => /^Whyat /.test(
			document.querySelector("[aria-label=Why] .panel-head").textContent));
		report(true, "Enter has the moment explained");
		report(await page.evaluate(() => {
			const style = getComputedStyle(document.activeElement);
			return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
		}), "where the focus is can be seen");
		report(await tabTo(page, "table Instances"), "the table's switch is reached");
		await page.keyboard.press("Space");
		report(await page.locator(".chart").nth(1).locator(".numbers").isVisible(),
			"and opens it");

		for (const [name, wait] of [["History", "h1:text-is('History')"],
			["Errors", "h1:text-is('Errors')"], ["Alerts", "h1:text-is('Alerts')"]])
		{
			await page.locator("nav a", { hasText: name }).focus();
			await page.keyboard.press("Enter");
			await page.waitForSelector(wait);
			await page.waitForSelector("main table");
			await accessible(page, `${name}, dark`);
			await picture(page, `${name.toLowerCase()}-dark`);
		}
		await page.locator("[data-key^=replay]").first().focus();
		await page.keyboard.press("Enter");
		await page.waitForSelector("text=being sent again");
		report(true, "a delivery is sent again");
		await page.context().close();
	},

	async "lists, light and narrow"()
	{
		const page = await newPage({ colorScheme: "light",
			viewport: { width: 390, height: 800 }, reducedMotion: "reduce" });

		await signIn(page, READER);
		await picture(page, "groups-narrow");
		for (const name of ["", "history", "errors", "alerts"])
		{
			await page.goto(`${url}#/${name}`);
			await page.waitForSelector("main table");
			await accessible(page, `${name || "groups"}, narrow`);
			const width = await page.evaluate(() =>
				[document.documentElement.scrollWidth, innerWidth]);

			report(width[0] <= width[1], `${name || "groups"}: nothing is beside a narrow screen`, width);
		}
		is(await page.evaluate(() => getComputedStyle(document.querySelector("nav a"))
			.transitionDuration), "0s", "nothing moves for those who want that");
		await page.goto(`${url}#/alerts`);
		await page.click("[data-key^=replay]");
		await page.waitForSelector(".notice.bad");
		report(/permission|denied/.test(await page.textContent(".notice.bad")),
			"a reader is refused, and told so");
		await page.goto(url);
		await page.click('.groups a:text-is("web")');
		await page.waitForSelector("h1:text-is('web')");
		report(await page.isDisabled("button:text-is('Suspend')"),
			"and is not offered what is not theirs");
		await picture(page, "group-narrow");

		/* the switch is stronger than the system */
		await page.click("#theme");
		await page.click("#theme");
		report(/dark/.test(await page.textContent("#theme"))
			&& await page.evaluate(() => getComputedStyle(document.body).colorScheme) === "dark",
		"the theme is switched by hand");
		await page.reload();
		report(/dark/.test(await page.textContent("#theme")), "which is remembered");
		await page.click("#leave");
		is(await page.evaluate(() => Object.keys(sessionStorage)
			.filter(key => /token/.test(key))), [], "the token is forgotten on demand");
		await page.context().close();
	},

	async "server away and gone"()
	{
		const page = await newPage();

		await signIn(page, READER);
		await page.context().setOffline(true);
		await page.waitForSelector("#banner:visible");
		report(/does not answer.*trying again/.test(await page.textContent("#banner")),
			"a server that is away is said to be");
		report(await page.locator(".groups tbody tr").count() === 4,
			"what was known stays");
		await accessible(page, "server away");
		await picture(page, "server-away");
		await page.context().setOffline(false);
		await page.waitForSelector("#banner", { state: "hidden" });
		report(true, "and when it is back, so is the page");

		await page.goto(`${url}#/group/no-such-group`);
		await page.waitForSelector("text=does not exist");
		report(true, "a group that is gone is said to be");

		process.kill(Number(HTTPD_PID));
		await page.goto(`${url}#/history`).catch(() => null);
		await page.waitForSelector("#banner:visible");
		report(true, "a server that is gone is said to be");
		is(await page.evaluate(() => window.violations), [],
			"the page kept to its policy to the end");
		await page.context().close();
	},
};

mkdirSync(SCREENSHOTS, { recursive: true });
for (const [name, run] of Object.entries(tests))
{
	const began = Date.now();

	try
	{
		await run();
	}
	catch (error)
	{
		report(false, `${name}: runs to its end`, error.stack);
		for (const context of browser.contexts())
		{
			const [page] = context.pages();

			await page?.screenshot({ path: `${SCREENSHOTS}/failed-${name.replaceAll(/\W+/g, "-")}.png` })
				.catch(() => null);
			await context.close();
		}
	}
	console.log(`# ${name}: ${Date.now() - began} ms`);
}
is(complaints, [], "no page complained, of its policy or otherwise");
await browser.close();
