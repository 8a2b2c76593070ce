"""The checks find what is wrong: each test breaks one thing in a real dashboard or query.

    python dashboards/check/tests.py
"""

import copy
import pathlib
import re
import sys
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import agree
import expected
import expected_rules
import files
import generate
import lint
import names
import schema
import yaml

SCRAPE = """\
# TYPE permille_requests_total counter
permille_requests_total{family="openai",status="200"} 7
# TYPE permille_overhead_seconds histogram
permille_overhead_seconds_bucket{le="0.1"} 7
permille_overhead_seconds_count 7
# TYPE permille_undocumented_total counter
permille_undocumented_total 1
# TYPE permille_requests_refused_total counter
permille_requests_refused_total{code="permille_overloaded"} 1
"""
DOCS = "| `permille_requests_total`, `permille_overhead_seconds`, `permille_requests_refused_total` | when |"


class Names(unittest.TestCase):
    def check(self, text: str, legend: str = "", alert: dict | None = None) -> set[str]:
        known = names.Names(SCRAPE, DOCS, ['"permille_overloaded"'])
        return known.check(files.Query("here", text, legend, alert=alert))

    def refuse(self, text: str, why: str, **more) -> None:
        with self.assertRaisesRegex(names.Unknown, why):
            self.check(text, **more)

    def test_what_is_exported_passes(self) -> None:
        labels = self.check('sum by (job, status) (rate(permille_requests_total{job=~"$job"}[$__rate_interval]))', "{{status}}")
        self.assertEqual(labels, {"job", "status"})

    def test_a_wrong_metric_is_found(self) -> None:
        self.refuse("rate(permille_request_total[5m])", "metric `permille_request_total` is not exported")

    def test_a_metric_that_is_not_documented_is_found(self) -> None:
        self.refuse("rate(permille_undocumented_total[5m])", "not in docs/operations.md")

    def test_a_wrong_label_is_found_wherever_it_stands(self) -> None:
        metric = "permille_requests_total"
        self.refuse(f'rate({metric}{{code="x"}}[5m])', "label `code` is not of")
        self.refuse(f"sum by (code) (rate({metric}[5m]))", "label `code` is aggregated by")
        self.refuse(f"rate({metric}[5m]) / on (code) rate({metric}[5m])", "label `code` is matched on")

    def test_a_label_that_an_aggregation_drops_is_found(self) -> None:
        text = "sum by (job) (rate(permille_requests_total[5m]))"
        self.refuse(text, "label `status` is shown", legend="{{status}}")
        told = {"annotations": {"summary": "{{ $labels.instance }} is down"}}
        self.refuse(text, "label `instance` is shown", alert=told)

    def test_a_value_that_the_code_never_writes_is_found(self) -> None:
        self.check('permille_requests_refused_total{code="permille_overloaded"}')
        self.refuse('permille_requests_refused_total{code="permille_overloded"}', "is ever `permille_overloded`")

    def test_a_quantile_needs_buckets(self) -> None:
        bucket = "rate(permille_overhead_seconds_bucket[5m])"
        self.assertEqual(self.check(f"histogram_quantile(0.9, sum by (le) ({bucket}))"), set())
        self.refuse(f"histogram_quantile(0.9, sum by (job) ({bucket}))", "without buckets")

    def test_an_unknown_variable_and_broken_syntax_are_found(self) -> None:
        self.refuse("rate(permille_requests_total[$nothing])", "here")
        self.refuse("rate(permille_requests_total[5m]", "here")

    def test_recorded_rules_keep_the_labels_of_their_query(self) -> None:
        known = names.Names(SCRAPE, DOCS, [])
        rate = "sum by (job) (rate(permille_requests_total[5m]))"
        known.record(files.Query("rule", rate, record="job:permille_requests:rate5m"))
        known.check(files.Query("panel", "job:permille_requests:rate5m", "{{job}}"))
        with self.assertRaisesRegex(names.Unknown, "`status`"):
            known.check(files.Query("panel", "job:permille_requests:rate5m", "{{status}}"))


class Schema(unittest.TestCase):
    def problems(self, change) -> str:
        dashboard = copy.deepcopy(files.boards()["overview"])
        change(dashboard, next(p for p in dashboard["panels"] if p["type"] == "timeseries"))
        return "\n".join(schema.problems("overview", dashboard))

    def test_a_dashboard_of_ours_is_known(self) -> None:
        self.assertEqual(self.problems(lambda dashboard, panel: None), "")

    def test_what_grafana_does_not_know_is_found(self) -> None:
        for change, what in (
            (lambda d, p: d.update(titel="x"), "overview.titel"),
            (lambda d, p: p.update(gridPosition={}), "gridPosition"),
            (lambda d, p: p["options"]["legend"].update(place="x"), "legend.place"),
            (lambda d, p: p["targets"][0].update(expression="x"), "expression"),
            (lambda d, p: p["fieldConfig"]["defaults"]["custom"].update(fill=1), "custom.fill"),
            (lambda d, p: p["fieldConfig"]["defaults"].update(unit="parsecs"), "unit `parsecs`"),
        ):
            with self.subTest(what):
                self.assertIn(what, self.problems(change))

    def test_a_value_of_another_type_is_found(self) -> None:
        for change, what in (
            (lambda d, p: d.update(schemaVersion="42"), "schema_version"),
            (lambda d, p: p["gridPos"].update(w="wide"), "'wide'"),
            (lambda d, p: p["options"]["legend"].update(displayMode="big"), "'big'"),
            (lambda d, p: p["fieldConfig"]["defaults"]["custom"].update(lineWidth="thin"), "'thin'"),
        ):
            with self.subTest(what):
                self.assertIn(what, self.problems(change))


class Lint(unittest.TestCase):
    def problems(self, change) -> str:
        dashboard = copy.deepcopy(files.boards()["overview"])
        panel = next(p for p in dashboard["panels"] if p["title"] == "Answers by status")
        change(dashboard, panel)
        return "\n".join(lint.of_dashboard("overview", dashboard))

    def expr(self, text: str):
        return lambda dashboard, panel: panel["targets"][0].update(expr=text)

    def test_rows_that_are_opened_have_all_panels_and_none_over_another(self) -> None:
        for board, dashboard in files.boards().items():
            shown = files.opened(dashboard)["panels"]
            self.assertEqual([each["id"] for each in shown], [each["id"] for each in files.placed(dashboard)])
            self.assertEqual(lint.overlaps(board, shown), [])

    def test_house_rules_are_enforced(self) -> None:
        chosen = '{job=~"$job",instance=~"$instance"}'
        for change, what in (
            (lambda d, p: p.update(description=""), "description"),
            (lambda d, p: p["fieldConfig"]["defaults"].pop("unit"), "unit"),
            (lambda d, p: p["targets"][0].update(legendFormat=""), "legend"),
            (lambda d, p: p["datasource"].update(uid="fixed"), "data source is a variable"),
            (lambda d, p: p["gridPos"].update(x=20), "wider than the grid"),
            (lambda d, p: p["gridPos"].update(y=0), "lies over"),
            (lambda d, p: p["gridPos"].update(y=40), "Answers by status: not whole on the first screen of a laptop"),
            (lambda d, p: p["gridPos"].update(h=90), "longer than 5 screens"),
            (lambda d, p: p.update(title="Burn rate " * 12), "its title is cut"),
            (lambda d, p: p["options"].update(text={"valueSize": 9}), "Grafana's own size"),
            (lambda d, p: p["targets"][0].update(legendFormat="{{status}} " * 9), "a legend of more than 40"),
            (lambda d, p: next(r for r in d["panels"] if r.get("panels"))["panels"][0]["gridPos"].update(x=20), "wider"),
            (lambda d, p: d.update(uid="other"), "the uid follows"),
            (lambda d, p: d["annotations"]["list"].pop(0), "no annotation for starts and deploys"),
            (lambda d, p: d["annotations"]["list"].pop(1), "no annotation for alerts"),
            (lambda d, p: d["annotations"]["list"].pop(2), "no annotation for price changes"),
            (lambda d, p: d["links"].pop(1), "no link to the runbooks"),
            (lambda d, p: p.update(links=[{"url": "$runbooks#nothing"}]), "no section of docs/operations.md"),
            (lambda d, p: p.update(links=[{"url": "/d/permille-nothing?x"}]), "leads nowhere"),
            (self.expr("sum(rate(permille_requests_total[$__rate_interval]))"), "not selected by job and instance"),
            (self.expr(f"sum(permille_requests_total{chosen})"), "without rate"),
            (self.expr(f"sum(rate(permille_requests_total{chosen}[5m]))"), "not `$__rate_interval`"),
            (self.expr("job:permille_requests:rate5m"), "not selected by job"),
        ):
            with self.subTest(what):
                self.assertIn(what, self.problems(change))


    def test_an_alert_whose_dashboard_does_not_lead_to_its_runbook_is_found(self) -> None:
        self.assertEqual(lint.of_rules({each["uid"] for each in files.boards().values()}), [])
        whole = files.links_of_panel
        with unittest.mock.patch.object(
            files, "links_of_panel", lambda panel: [url for url in whole(panel) if "permillejournallag" not in url]
        ):
            found = lint.of_rules({each["uid"] for each in files.boards().values()})
        self.assertEqual(len(found), 1)
        self.assertIn("PermilleJournalLag: no panel of its dashboard leads to its runbook", found[0])


    def test_an_alert_whose_text_no_test_has_is_found_and_so_is_one_that_never_ends(self) -> None:
        whole = yaml.safe_load

        def without(change):
            def load(text: str):
                document = whole(text)
                for test in document.get("tests", []):
                    change(test)
                return document

            with unittest.mock.patch.object(lint.yaml, "safe_load", load):
                return lint.of_rules({each["uid"] for each in files.boards().values()})

        alerts = sum(query.alert is not None for query in files.rules())
        for change, what in (
            (lambda test: test.pop("alert_rule_test", None), "no test has its labels and its texts"),
            (lambda test: test["promql_expr_test"].pop(), "no test shows that it is silent before and afterwards"),
            (lambda test: test["promql_expr_test"].pop(0), "no test shows that it is silent before and afterwards"),
        ):
            with self.subTest(what):
                # A few are shown silent more often than once.
                self.assertGreater(sum(what in each for each in without(change)), alerts - 3)

    def test_a_test_whose_groups_have_no_order_is_found_where_they_need_one(self) -> None:
        whole = yaml.safe_load

        def load(text: str):
            document = whole(text)
            document.pop("group_eval_order", None)
            return document

        with unittest.mock.patch.object(lint.yaml, "safe_load", load):
            found = lint.of_rules({each["uid"] for each in files.boards().values()})
        self.assertIn("PermilleUpstreamFails: a test of it evaluates groups in any order", "".join(found))
        self.assertNotIn("PermilleDown:", "".join(found))


class Agreement(unittest.TestCase):
    def test_a_query_for_all_time_keeps_what_it_selects_and_sums(self) -> None:
        rules = {"job:permille_a:rate5m": 'sum by (job) (rate(permille_a_total{x="1",}[5m])) or 0 * permille_b'}
        rules["job:permille_c:rate5m"] = "permille_c"
        for text, whole in (
            ('sum by (le) (increase(permille_h_bucket{a="b"}[2m]))', 'sum by (le) ((permille_h_bucket{a="b"}))'),
            ("topk(3, rate(permille_a_total[1m] offset 1d) * 60)", "topk(3, (permille_a_total) * 60)"),
            ("max_over_time(job:permille_c:rate5m[1d]) > 0", "((permille_c)) > 0"),
            (
                'avg_over_time(job:permille_a:rate5m{job="p"}[1h]) > 1',
                '((sum by (job) ((permille_a_total{x="1",job="p"})) or 0 * permille_b{job="p"})) > 1',
            ),
        ):
            self.assertEqual(agree.for_all_time(text, rules), whole)

    def test_a_token_too_much_is_found_and_so_is_a_series_that_is_missing(self) -> None:
        def wrong(got: dict, want: dict) -> str:
            return "".join(agree.differences("here", got, want, str))

        self.assertEqual(wrong({("a",): 1e6, ("b",): 0}, {("a",): 1_000_000}), "")
        self.assertIn("a is 1e+06, by the books 1e+06", wrong({("a",): 1_000_001}, {("a",): 1_000_000}))
        self.assertIn("a is 0, by the books 7", wrong({}, {("a",): 7}))
        self.assertIn("b is 7, by the books 0", wrong({("b",): 7}, {}))
        self.assertIn("a is 3, by the books 1 to 2", wrong({("a",): 3}, {("a",): (1, 2)}))

    def test_a_quantile_lies_in_its_bucket_as_prometheus_has_it(self) -> None:
        # Two of four below 1, two from 1 to 2: the median is the end of the first bucket.
        values, bounds = [0.2, 0.4, 1.5, 1.7], [1.0, 2.0, float("inf")]
        self.assertEqual(expected.quantile(0.5, values, bounds), 1.0)
        self.assertEqual(expected.quantile(0.75, values, bounds), 1.5)

    def test_a_panel_in_no_table_is_found(self) -> None:
        self.assertEqual(expected.unlisted(), [])
        reason = expected.NOT_IN_BOOKS.pop("overview: Memory")
        try:
            self.assertIn("overview: Memory", "".join(expected.unlisted()))
        finally:
            expected.NOT_IN_BOOKS["overview: Memory"] = reason

    def test_a_recorded_rule_in_no_table_is_found_and_so_is_an_entry_of_no_rule(self) -> None:
        self.assertEqual(expected_rules.unlisted(), [])
        with unittest.mock.patch.dict(expected_rules.EXPECTED, {"job:nothing:rate5m": expected_rules.nothing}):
            del expected_rules.EXPECTED["job:permille_complete:rate5m"]
            found = "".join(expected_rules.unlisted())
        self.assertIn("job:permille_complete:rate5m", found)
        self.assertIn("no rule `job:nothing:rate5m`", found)

    def test_an_alert_has_the_value_of_its_figure_beyond_its_bound_alone(self) -> None:
        def figure(_asked) -> expected.Series:
            return expected.Series(("customer",), {("a",): 3, ("b",): -2})

        self.assertEqual(expected_rules.above(0, figure)(None), {("a",): 3})
        self.assertEqual(expected_rules.below(-1, figure)(None), {("b",): -2})
        self.assertEqual(expected_rules.above(3, figure)(None), {})


class Places(unittest.TestCase):
    def test_a_copy_of_the_rules_leads_to_where_the_runbooks_are(self) -> None:
        folder = pathlib.Path("rules")
        made = generate.rules(folder, generate.Places(runbooks="https://docs.example.com/operations"))
        self.assertEqual(sorted(made), [folder / "alerts.yml", folder / "recording.yml"])
        leads = re.findall(r"runbook_url: (.*)#", made[folder / "alerts.yml"])
        self.assertGreater(len(leads), 40)
        self.assertEqual(set(leads), {"https://docs.example.com/operations"})

    def test_a_text_of_a_variable_is_quoted_in_sql(self) -> None:
        text = files.fill("select ${session:sqlstring}, '$customer'", {"session": "it's", "customer": "acme"})
        self.assertEqual(text, "select 'it''s', 'acme'")


if __name__ == "__main__":
    unittest.main()
