package pushdown

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/relabel"
)

// asked is how many filters each Envoy is asked with.
const asked = 150

// TestRealEnvoy asks a real Envoy with filters, and compares the pages with the whole ones. It also compares the names
// of its stats with the tables in testdata, with which other tests try many more rules: TABLES=1 writes the tables.
func TestRealEnvoy(t *testing.T) {
	for name, s := range map[string]settings{
		"envoy-default-tags": {Clusters: clusterNames},
		"envoy-istio-tags":   {Clusters: clusterNames, Istio: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEnvoy(t, s)
			e.compareTable(t, name)
			e.compareFilters(t)
		})
	}
}

func (e *envoy) compareFilters(t *testing.T) {
	t.Helper()
	all := series(e.page(t, ""))
	names := namesIn(all)
	r := rand.New(rand.NewPCG(3, 3))
	lines, tried, drops := 0, 0, 0
	for tried < asked {
		rules := someRules(r, names)
		filter, _ := Build(rules)
		if filter == "" {
			continue
		}
		tried++
		if strings.HasPrefix(filter, "^") {
			drops++
		}
		var problem string
		for range 2 { // once more if a stat has appeared between the two pages
			whole, filtered := series(e.page(t, "")), series(e.page(t, filter))
			if problem = compare(whole, filtered, rules); problem == "" {
				lines += len(filtered)
				break
			}
		}
		if problem != "" {
			t.Fatalf("filter %s: %s", filter, problem)
		}
	}
	t.Logf("%d series on the whole page, %d on average with a filter; %d of %d filters are of rules that only drop",
		len(all), lines/asked, drops, asked)
	if drops < asked/20 {
		t.Error("too few filters are of rules that only drop")
	}
}

// compare returns what is wrong with a filtered page: it lacks a series that the rules keep, or it has one that the
// whole page has not, or has in another order.
func compare(whole, filtered []string, rules []*relabel.Config) string {
	for _, line := range whole {
		switch {
		case len(filtered) > 0 && filtered[0] == line:
			filtered = filtered[1:]
		case isKept(line, rules):
			return "the page lacks " + line
		}
	}
	if len(filtered) > 0 {
		return "the whole page has not, or not in this order, " + filtered[0]
	}
	return ""
}

// TestRealEnvoyCutsInsideAWord makes the one case that a filter cannot know. See the package comment.
func TestRealEnvoyCutsInsideAWord(t *testing.T) {
	e := startEnvoy(t, settings{Istio: true, InsideWord: true, Clusters: clusterNames})
	const name = "envoy_http_mydownstream_cx_active"
	filter, why := Build([]*relabel.Config{keep(name)})
	if filter == "" {
		t.Fatal(why)
	}
	if !strings.Contains(e.page(t, ""), "\n"+name+"{") {
		t.Fatal("the whole page has no ", name)
	}
	if strings.Contains(e.page(t, filter), name) {
		t.Error("the page for the filter has it: say so in the package comment")
	}
}

// compareTable compares the table in testdata with the names that Envoy has now.
func (e *envoy) compareTable(t *testing.T, name string) {
	t.Helper()
	byFamily := map[string][]string{}
	for _, raw := range e.rawNames(t) {
		page := e.page(t, "^"+regexp.QuoteMeta(raw)+"$")
		for _, match := range typeLine.FindAllStringSubmatch(page, -1) {
			byFamily[match[1]] = append(byFamily[match[1]],
				fmt.Sprintf("%s\t%s\t%s\n", match[2], e.withoutPorts(raw), match[1]))
		}
	}
	file := filepath.Join("testdata", name+".txt")
	if os.Getenv("TABLES") == "1" {
		writeTable(t, file, byFamily)
	}
	recorded, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	missing := 0
	for family := range byFamily {
		if !strings.Contains(string(recorded), "\t"+family+"\n") {
			missing++
		}
	}
	t.Logf("%d families, of which the table lacks %d", len(byFamily), missing)
	if missing > len(byFamily)/50 { // some stats are there only when something has happened
		t.Errorf("the table %s lacks %d of %d families: run the test with TABLES=1", file, missing, len(byFamily))
	}
}

// perFamily is how many raw names of a family are in a table.
const perFamily = 3

func writeTable(t *testing.T, file string, byFamily map[string][]string) {
	t.Helper()
	var all []string
	for _, lines := range byFamily {
		slices.Sort(lines)
		step := max(1, len(lines)/perFamily)
		for i := 0; i < len(lines) && i < step*perFamily; i += step {
			all = append(all, lines[i])
		}
	}
	slices.Sort(all)
	if err := os.WriteFile(file, []byte(strings.Join(all, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// withoutPorts gives the listeners the same ports in every run.
func (e *envoy) withoutPorts(raw string) string {
	for i, port := range []int{e.AdminPort, e.HTTPPort, e.NamedPort, e.TCPPort, e.AppPort} {
		raw = strings.ReplaceAll(raw, fmt.Sprintf("_%d.", port), fmt.Sprintf("_1500%d.", i))
	}
	return raw
}

// namesIn returns the names of series.
func namesIn(series []string) (names []string) {
	for _, line := range series {
		name, _, _ := strings.Cut(line, "{")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// isKept reports whether the rules keep a series.
func isKept(line string, rules []*relabel.Config) bool {
	name, _, _ := strings.Cut(line, "{")
	return keeps(rules, name)
}
