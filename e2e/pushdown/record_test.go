package pushdown

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// sample is a stored sample, or a staleness marker.
type sample struct {
	at    int64 // Unix milliseconds
	value float64
	stale bool
}

// record is all that is stored of one target of one agent.
type record struct {
	series  map[string]*[]sample // by their labels without the agent's, in order of time
	reports map[string]*[]sample // up, scrape_duration_seconds and so on, by name
}

// read returns what is stored of an agent's job, by target. It reads the blocks of a snapshot, because a query does not
// return staleness markers. No page of these tests has a value that is not a number, so NaN is a marker.
func read(t *testing.T, folder, agent, job string) map[string]*record {
	t.Helper()
	promtool := filepath.Join(parts.Tools(t, "prometheus", "promtool"), "promtool")
	cmd := exec.CommandContext(t.Context(), promtool, "tsdb", "dump", "--sandbox-dir-root="+t.TempDir(),
		fmt.Sprintf("--match={agent=%q, job=%q}", agent, job), folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]*record{}
	ofAgent := fmt.Sprintf("agent=%q, ", agent)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for series, samples := "", (*[]sample)(nil); lines.Scan(); {
		name, s := cutLine(t, lines.Text()) // {__name__="up", agent="auto", …} 1 1764417600000
		if samples == nil || name != series {
			series, samples = name, add(records, strings.Replace(name, ofAgent, "", 1))
		}
		*samples = append(*samples, s)
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if len(records) == 0 {
		t.Fatalf("nothing is stored of agent %s, job %s", agent, job)
	}
	for _, r := range records {
		r.sort()
	}
	return records
}

func cutLine(t *testing.T, line string) (series string, s sample) {
	t.Helper()
	end := strings.LastIndexByte(line, '}') + 1
	number, at, _ := strings.Cut(strings.TrimSpace(line[end:]), " ")
	v, err := strconv.ParseFloat(number, 64)
	if err == nil {
		s.at, err = strconv.ParseInt(at, 10, 64)
	}
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	s.value, s.stale = v, math.IsNaN(v)
	return line[:end], s
}

// add returns where the samples of a series belong.
func add(records map[string]*record, series string) *[]sample {
	target := labelOf(series, "instance")
	r := records[target]
	if r == nil {
		r = &record{map[string]*[]sample{}, map[string]*[]sample{}}
		records[target] = r
	}
	into, key := r.series, series
	if name := labelOf(series, "__name__"); name == "up" || strings.HasPrefix(name, "scrape_") {
		into, key = r.reports, name
	}
	if into[key] == nil {
		into[key] = &[]sample{}
	}
	return into[key]
}

// sort brings the samples in order: promtool prints one block after the other.
func (r *record) sort() {
	for _, of := range []map[string]*[]sample{r.series, r.reports} {
		for _, samples := range of {
			slices.SortFunc(*samples, func(a, b sample) int { return cmp.Compare(a.at, b.at) })
		}
	}
}

// labelOf returns the value of a label of a series, as it is printed.
func labelOf(series, label string) string {
	_, rest, _ := strings.Cut(series, label+`="`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// report returns the samples of a report series, without staleness markers.
func (r *record) report(name string) (all []sample) {
	if samples := r.reports[name]; samples != nil {
		for _, s := range *samples {
			if !s.stale {
				all = append(all, s)
			}
		}
	}
	return all
}

// scrape is one scrape of a target.
type scrape struct {
	at     int64
	failed bool
}

// scrapes returns all scrapes of a target.
func (r *record) scrapes() (all []scrape) {
	for _, s := range r.report("up") {
		all = append(all, scrape{s.at, s.value == 0})
	}
	return all
}

// life is a run of scrapes with a series: from its appearance to its end.
type life struct {
	before, first int64 // times of the last scrape without the series, and of the first one with it
	last, after   int64 // times of the last scrape with it, and of the first one without it
	marked        bool  // there is a staleness marker between last and after
	samples       []sample
}

// never is the time of a scrape that did not happen.
const never = math.MaxInt64

// lives returns the lives of a series. A failed scrape neither begins nor ends one.
func lives(scrapes []scrape, samples []sample) (all []life) {
	byTime := map[int64]sample{}
	for _, s := range samples {
		byTime[s.at] = s
	}
	lastGood, marked := int64(math.MinInt64), false
	var open *life
	for _, c := range scrapes {
		s, stored := byTime[c.at]
		if stored && s.stale {
			marked = true
		}
		switch {
		case c.failed:
			continue
		case stored && !s.stale && open == nil:
			open = &life{before: lastGood, first: c.at, last: c.at, after: never, samples: []sample{s}}
		case stored && !s.stale:
			open.last, open.samples = c.at, append(open.samples, s)
		case open != nil:
			open.after, open.marked = c.at, marked
			all, open = append(all, *open), nil
		}
		lastGood, marked = c.at, false
	}
	if open != nil {
		all = append(all, *open)
	}
	return all
}

// longest returns how long the longest scrape took, in milliseconds.
func (r *record) longest() int64 {
	var most float64
	for _, s := range r.report("scrape_duration_seconds") {
		most = max(most, s.value)
	}
	return int64(most*1000) + 1
}

// values returns the values of a report series.
func (r *record) values(name string) (all []float64) {
	for _, s := range r.report(name) {
		all = append(all, s.value)
	}
	return all
}

// sum adds up the values of a report series.
func (r *record) sum(name string) (sum float64) {
	for _, v := range r.values(name) {
		sum += v
	}
	return sum
}

// lastValue returns the last value of a life, which has at least one.
func (l life) lastValue() float64 { return l.samples[len(l.samples)-1].value }

// around returns the last sample before a time and the first one after another time.
func (l life) around(before, after int64) (low, high sample, ok bool) {
	i, _ := slices.BinarySearchFunc(l.samples, before, func(s sample, at int64) int { return int(s.at - at) })
	j, _ := slices.BinarySearchFunc(l.samples, after, func(s sample, at int64) int { return int(s.at - at) })
	if i == 0 || j == len(l.samples) {
		return low, high, false
	}
	return l.samples[i-1], l.samples[j], true
}
