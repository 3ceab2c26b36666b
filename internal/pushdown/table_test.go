package pushdown

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

// stat is a raw name and the names of the series that Envoy makes of it.
type stat struct {
	raw    string
	series []string
}

// histogramOf returns the stat of a histogram.
func histogramOf(raw, family string) stat {
	return stat{raw, []string{family + "_bucket", family + "_sum", family + "_count"}}
}

// recordedTables reads testdata: tables that TestRealEnvoy has taken from a real Envoy. Their lines are
//
//	counter cluster.app.upstream_rq_2xx envoy_cluster_upstream_rq_xx
func recordedTables(t testing.TB) map[string][]stat {
	t.Helper()
	tables := map[string][]stat{}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no tables in testdata: ", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Split(strings.TrimSpace(line), "\t")
			if len(fields) != 3 {
				t.Fatalf("%s: %q", file, line)
			}
			s := stat{fields[1], []string{fields[2]}}
			if fields[0] == "histogram" {
				s = histogramOf(fields[1], fields[2])
			}
			tables[file] = append(tables[file], s)
		}
	}
	return tables
}

// pageTables makes tables of recorded pages: of each series the raw name of which Envoy has made it. Istio's metrics
// have all their labels behind the name; of Envoy's own the labels follow the first word, and the response code is at
// the end.
func pageTables(t testing.TB) map[string][]stat {
	t.Helper()
	files, _ := filepath.Glob("../../../shared/data/envoy/*.txt")
	tables := map[string][]stat{}
	for _, file := range files {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(page))
		lines.Buffer(nil, 1<<20)
		seen := map[string]bool{}
		for lines.Scan() {
			if s, ok := statOf(lines.Text()); ok && !seen[s.raw] {
				seen[s.raw] = true
				tables[filepath.Base(file)] = append(tables[filepath.Base(file)], s)
			}
		}
	}
	return tables
}

var (
	sampleLine = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? \S+$`)
	labelPair  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// statOf returns the stat that a line shows.
func statOf(line string) (stat, bool) {
	parts := sampleLine.FindStringSubmatch(line)
	if parts == nil || !strings.HasPrefix(parts[1], "envoy_") && !strings.HasPrefix(parts[1], "istio_") {
		return stat{}, false
	}
	family, isHistogram := parts[1], strings.Contains(parts[2], `le="`)
	if isHistogram {
		family = strings.TrimSuffix(family, "_bucket")
	} else if strings.HasSuffix(family, "_sum") || strings.HasSuffix(family, "_count") {
		return stat{}, false // of a histogram that its buckets show
	}
	var values, code []string
	for _, pair := range labelPair.FindAllStringSubmatch(parts[2], -1) {
		switch name := strings.TrimPrefix(pair[1], "envoy_"); {
		case name == "le":
		case strings.HasPrefix(family, "istio_"):
			values = append(values, pair[1], pair[2])
		case name == "response_code" || name == "response_code_class":
			code = append(code, strings.TrimSuffix(pair[2], "xx"))
		default:
			values = append(values, pair[2])
		}
	}
	var raw string
	if strings.HasPrefix(family, "istio_") {
		raw = strings.Join(append([]string{"istiocustom", family}, values...), ".")
	} else {
		scope, rest, _ := strings.Cut(strings.TrimPrefix(family, "envoy_"), "_")
		if len(code) > 0 {
			begin, class := strings.CutSuffix(rest, "xx")
			if rest = begin + strings.Join(code, "_") + "xx"; !class {
				rest = begin + "_" + strings.Join(code, "_")
			}
		}
		raw = strings.Join(append(append([]string{scope}, values...), rest), ".")
	}
	if isHistogram {
		return histogramOf(raw, family), true
	}
	return stat{raw, []string{family}}, true
}

// keeps reports whether the rules keep a series of the pod a.
func keeps(rules []*relabel.Config, name string) bool {
	l := labels.FromStrings(model.MetricNameLabel, name, "pod", "a")
	return relabel.ProcessBuilder(labels.NewBuilder(l), rules...)
}

// missing returns a stat that the filter does not find although the rules keep one of its series.
func missing(table []stat, rules []*relabel.Config, filter string) (stat, bool) {
	re := regexp.MustCompile(filter)
	for _, s := range table {
		kept := slices.ContainsFunc(s.series, func(name string) bool { return keeps(rules, name) })
		if kept && !re.MatchString(s.raw) {
			return s, true
		}
	}
	return stat{}, false
}
