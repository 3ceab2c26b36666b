package pushdown

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/relabel"
)

// lists is how many lists of rules a property is tried with, for each table.
const lists = 200

func namesOf(table []stat) (all []string) {
	for _, s := range table {
		all = append(all, s.series...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// counterexample looks for a list of rules whose filter misses a stat of the table: rules that keep one name or what
// begins like it, for each name, then lists of rules made at random.
func counterexample(table []stat, seed uint64, build func([]*relabel.Config) string) (text string, filters int) {
	try := func(table []stat, rules []*relabel.Config) bool {
		filter := build(rules)
		if filter == "" {
			return false
		}
		filters++
		s, found := missing(table, rules, filter)
		if found {
			text = fmt.Sprintf("rules %s\nfilter %s\nmisses %s of %v", show(rules), filter, s.raw, s.series)
		}
		return found
	}
	byName := map[string][]stat{}
	for _, s := range table {
		for _, name := range s.series {
			byName[name] = append(byName[name], s)
		}
	}
	names := namesOf(table)
	for _, name := range names {
		for _, regex := range []string{name, name[:len(name)-1] + ".*", name[:2*len(name)/3] + ".+"} {
			if try(byName[name], []*relabel.Config{keep(regex)}) {
				return text, filters
			}
		}
	}
	filters = 0
	r := rand.New(rand.NewPCG(seed, 1))
	for range lists {
		if try(table, someRules(r, names)) {
			break
		}
	}
	return text, filters
}

func show(rules []*relabel.Config) string {
	var all []string
	for _, r := range rules {
		all = append(all, fmt.Sprintf("%s %v %q", r.Action, r.SourceLabels, r.Regex.String()))
	}
	return strings.Join(all, "; ")
}

func build(rules []*relabel.Config) string {
	filter, _ := Build(rules)
	return filter
}

// TestFilterFindsAllThatRulesKeep holds what the package promises, on names of a real Envoy and of recorded pages.
func TestFilterFindsAllThatRulesKeep(t *testing.T) {
	tables := recordedTables(t)
	pages := pageTables(t)
	if len(pages) == 0 {
		t.Log("SKIPPED: no real pages beside the checkout (../shared/data/envoy)")
	}
	for name, table := range pages {
		tables[name] = table
	}
	for name, table := range tables {
		t.Run(name, func(t *testing.T) {
			if len(table) == 0 {
				t.Skip("no metrics of Envoy or Istio")
			}
			text, filters := counterexample(table, 7, build)
			if text != "" {
				t.Error(text)
			}
			if filters < lists/5 {
				t.Errorf("%d of %d lists of rules have a filter: the property is hardly tried", filters, lists)
			}
			t.Logf("%d stats, %d names, %d filters", len(table), len(namesOf(table)), filters)
		})
	}
}

// TestFilterLeavesOut says what filters are worth: how many stats of a real Envoy they find.
func TestFilterLeavesOut(t *testing.T) {
	for _, c := range []struct {
		rule *relabel.Config
		most float64 // share of the stats
	}{
		{keep("istio_.*"), 0.01}, // Istio's own metrics are not in these tables
		{keep("envoy_cluster_upstream_rq_xx"), 0.1},
		{keep("envoy_(cluster_upstream_(rq|cx)_total|server_live)"), 0.15},
		{drop("envoy_(cluster|http|listener|server|vhost)_.*"), 0.6},
		{drop("envoy_.*"), 0.6},
	} {
		for file, table := range recordedTables(t) {
			filter, why := Build([]*relabel.Config{c.rule})
			if filter == "" {
				t.Fatal(why)
			}
			re, found := regexp.MustCompile(filter), 0
			for _, s := range table {
				if re.MatchString(s.raw) {
					found++
				}
			}
			share := float64(found) / float64(len(table))
			t.Logf("%s: %s: %d of %d stats", file, show([]*relabel.Config{c.rule}), found, len(table))
			if share > c.most {
				t.Errorf("%s: %s: the filter %s finds %.2f of the stats, want at most %.2f", file,
					show([]*relabel.Config{c.rule}), filter, share, c.most)
			}
		}
	}
}

// TestMistakesAreFound builds filters as one could think that they are right. Each must miss a stat of the tables.
func TestMistakesAreFound(t *testing.T) {
	for name, mistake := range map[string]func(filter string) string{
		"a gap touches separators": func(filter string) string {
			return strings.ReplaceAll(filter, gap, `[^0-9A-Za-z](?:.*[^0-9A-Za-z])?`)
		},
		"a gap is one separator": func(filter string) string { return strings.ReplaceAll(filter, gap, `[^0-9A-Za-z]`) },
		"the first alternative is left out": func(filter string) string {
			_, rest, more := strings.Cut(filter, "|")
			if !more || strings.HasPrefix(filter, "^") {
				return filter
			}
			return rest
		},
		"at the beginning of the name": func(filter string) string { return "^(?:" + filter + ")" },
		"one letter more":              func(filter string) string { return "(?:" + filter + `)[a-z]` },
		"a scope without its dot":      func(filter string) string { return strings.ReplaceAll(filter, `|[^.]`, "") },
	} {
		t.Run(name, func(t *testing.T) {
			mustFail(t, func(rules []*relabel.Config) string { return mistake(build(rules)) })
		})
	}
	t.Run("the suffix of a histogram stays", func(t *testing.T) {
		mustFail(t, func(rules []*relabel.Config) string {
			if rules[0].Action != relabel.Keep || !regexp.MustCompile(`^\w+$`).MatchString(rules[0].Regex.String()) {
				return ""
			}
			return strings.ReplaceAll(strings.TrimPrefix(rules[0].Regex.String(), envoyPrefix), "_", gap)
		})
	})
}

func mustFail(t *testing.T, build func([]*relabel.Config) string) {
	t.Helper()
	for _, table := range recordedTables(t) {
		if text, _ := counterexample(table, 7, build); text != "" {
			t.Log(text)
			return
		}
	}
	t.Error("no test finds the mistake")
}

// TestScopesStayInFront holds what drops rest on: a raw name that begins with a scope becomes a name that begins with
// the scope and goes on.
func TestScopesStayInFront(t *testing.T) {
	seen := map[string]bool{}
	for file, table := range recordedTables(t) {
		for _, s := range table {
			scope, _, _ := strings.Cut(s.raw, ".")
			seen[scope] = true
			after, ok := strings.CutPrefix(s.series[0], envoyPrefix+scope+"_")
			if slices.Contains(scopes, scope) && (!ok || after == "") {
				t.Errorf("%s: %s is %s", file, s.raw, s.series[0])
			}
		}
	}
	for _, scope := range scopes {
		if !seen[scope] {
			t.Errorf("no raw name begins with %s: nothing says that it stays in front", scope)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d scopes in the tables", len(seen))
	}
}

// TestCutInsideAWord shows the one case that a filter cannot know: two ends of a word that became one.
func TestCutInsideAWord(t *testing.T) {
	table := []stat{{"http.mycache.v1.rq_total", []string{"envoy_http_myrq_total"}}}
	rules := []*relabel.Config{keep("envoy_http_myrq_total")}
	if _, found := missing(table, rules, build(rules)); !found {
		t.Error("the filter finds it: say so in doc.go")
	}
}

func FuzzBuild(f *testing.F) {
	for _, regex := range []string{"istio_.*", "envoy_cluster_upstream_rq_xx", "(a|b)+_c{2,}", "^$", "(?i)x", "a)|(?:b",
		`\bistio_\w+`, "(?m)^istio_.*$", "[^a]_.*", "envoy_(a|b|)(_c)?(_d)*.*", `\Qa.b\E`, "é_.*", "(?-s)envoy_.*\n"} {
		f.Add(regex, regex, byte(1))
	}
	tables := recordedTables(f)
	f.Fuzz(func(t *testing.T, first, second string, actions byte) {
		var rules []*relabel.Config
		for i, text := range []string{first, second} {
			if _, err := relabel.NewRegexp(text); err != nil || len(text) > 200 {
				return
			}
			action := relabel.Keep
			if actions>>i&1 == 1 {
				action = relabel.Drop
			}
			rules = append(rules, rule(action, text))
		}
		filter, why := Build(rules)
		if (filter == "") == (why == "") {
			t.Fatalf("filter %q, why %q: want one of them", filter, why)
		}
		if filter == "" {
			return
		}
		if len(filter) > maxBytes+100 {
			t.Fatalf("%d bytes", len(filter))
		}
		for _, table := range tables {
			if s, found := missing(table, rules, filter); found {
				t.Fatalf("rules %s\nfilter %s\nmisses %s of %v", show(rules), filter, s.raw, s.series)
			}
		}
	})
}
