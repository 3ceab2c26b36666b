package scrape

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// FuzzPagesWithRules reads a page, pages made of it by edits, and the page again, for two targets that share what
// they can, under configurations of all kinds, and compares every scrape with the reference: samples, staleness
// markers, counts, report, failure.
func FuzzPagesWithRules(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, page := range seedPages() {
		for rules := range 3 * len(ruleSets()) {
			edits := make([]byte, 8*(1+rules%3))
			for i := range edits {
				edits[i] = byte(r.Uint32())
			}
			f.Add([]byte(page), edits, uint32(rules)<<24|r.Uint32()>>8, r.Uint32())
		}
	}
	jobs := newFuzzJobs(f)
	f.Fuzz(func(t *testing.T, page, edits []byte, config, reloaded uint32) {
		if len(page) > 8<<10 || len(edits) > 60 {
			return // slow, and no news
		}
		newPair(t, jobs, config, reloaded).run(page, edits)
	})
}

// seedPages are pages as Envoys print them, and odd ones.
func seedPages() []string {
	return []string{
		`# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",source_workload="a",response_code="200",response_flags="-"} 17
istio_requests_total{reporter="destination",source_workload="b",response_code="503",response_flags="UF"} 3
# TYPE envoy_server_live gauge
envoy_server_live{} 1
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{reporter="destination",source_workload="a",le="0.5"} 0
istio_request_duration_milliseconds_bucket{reporter="destination",source_workload="a",le="1"} 5
istio_request_duration_milliseconds_bucket{reporter="destination",source_workload="a",le="+Inf"} 17
istio_request_duration_milliseconds_sum{reporter="destination",source_workload="a"} 309.89999999999997726263245567679
istio_request_duration_milliseconds_count{reporter="destination",source_workload="a"} 17
`,
		"# TYPE a gauge\na{x=\"1\"} 1\n\n# TYPE b counter\nb 18446744073709551615\na{x=\"2\"} " +
			"2\n\nb{x=\"1\",instance=\"z\",job=\"y\"} 3\n",
		"# TYPE s summary\ns{quantile=\"0\"} nan\ns{quantile=\"1\"} 2\ns_sum 1\ns_count 1\n# TYPE h " +
			"histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 2\ns{quantile=\"1\"} 3\n",
		"x{instance=\"i\"} 1\nx{instance=\"i\",exported_instance=\"e\"} 2\nx{job=\"\"} " +
			"3\nx{exported_job=\"b:1\",job=\"j\"} 4\nx 5\n",
		"a 1 1000\na 2 2000\na 3\nb 4 1000\na{} 5\nc 6 99999999999999\nc 7\n",
		"a{v=\"q\\\"uote\"} 1\na{v=\"back\\\\slash\"} 2\na{v=\"new\\nline\"} 3\na{v=\"two\nlines\"} 4\na{v=\"\"} " +
			"5\na 6\n{\"utf8.name\",x=\"1\"} 1\n",
		"# HELP a what it is\n# TYPE a counter\na 1\n# TYPE a counter\n# TYPE a gauge\na 2\n# EOF\n",
		"# TYPE a counter\na_total{x=\"1\"} 1\na_created{x=\"1\"} 5\na_created{x=\"1\"} 6\n# TYPE h " +
			"histogram\nh_bucket{le=\"1\"} 1\nh_created 7\nh_sum 2\nh_sum 3\n# EOF\n",
		"istio_build{tag=\"1.24\"} 1\nistio_xds_total{url=\"A\"} 2\nistio_xds_total{url=\"B\"} " +
			"3\nprocess_cpu_seconds 1.5\n",
	}
}

// ruleSets are metric_relabel_configs of every kind.
func ruleSets() []string {
	return []string{
		`[]`,
		`[{source_labels: [__name__], regex: 'envoy_.*|a', action: drop}]`,
		`[{source_labels: [__name__], regex: 'istio_.*|x|h_bucket', action: keep}]`,
		`[{regex: 'x|response_flags|reporter', action: labeldrop}]`,
		`[{regex: instance, action: labeldrop}]`,
		`[{regex: '__name__', action: labeldrop}]`,
		`[{regex: '.*', action: labeldrop}]`,
		`[{regex: '__name__|instance|le|quantile|x', action: labelkeep}]`,
		`[{source_labels: [x], target_label: instance}]`,
		`[{source_labels: [x, source_workload], regex: '(.+);.*', target_label: pod_name}]`,
		`[{target_label: job, replacement: mesh}]`,
		`[{target_label: x, replacement: ''}]`,
		`[{target_label: pod_name, replacement: ''}]`,
		`[{regex: 'exported_(.+)', replacement: '$1', action: labelmap}]`,
		`[{regex: '(in.*)', replacement: 'of_$1', action: labelmap}, {regex: 'instance', action: labeldrop}]`,
		`[{source_labels: [instance, x], modulus: 4, target_label: shard, action: hashmod}]`,
		`[{source_labels: [instance, __name__], modulus: 2, target_label: shard, action: hashmod}, {source_labels: [shard], regex: '0', action: keep}]`,
		`[{source_labels: [exported_instance], target_label: instance, action: dropequal}]`,
		`[{source_labels: [job], target_label: exported_job, action: keepequal}]`,
		`[{source_labels: [response_flags], target_label: response_flags, action: lowercase}, {source_labels: [__name__], target_label: __name__, action: uppercase}]`,
		`[{source_labels: [__name__], regex: '(.*)_(total|sum|bucket)', target_label: __name__, replacement: '$1'}]`,
		`[{source_labels: [le], regex: '1.0', action: drop}]`,
		`[{source_labels: [le], target_label: bound}, {regex: 'le|quantile', action: labeldrop}]`,
		`[{source_labels: [__name__], target_label: le}]`,
		`[{source_labels: [instance], regex: 'b:1', action: drop}]`,
		`[{source_labels: [pod_name], target_label: pod}, {regex: 'pod_name|namespace', action: labeldrop}, {source_labels: [__name__], regex: 'b', action: drop}]`,
	}
}

// fuzzJobs are the configurations that numbers stand for. Each is made once.
type fuzzJobs struct {
	metrics *metrics
	rules   []*promconfig.ScrapeConfig
	mu      sync.Mutex // guards the following
	made    map[uint32]*jobState
}

func newFuzzJobs(tb testing.TB) *fuzzJobs {
	j := &fuzzJobs{metrics: newMetrics(nil), made: map[uint32]*jobState{}}
	for _, rules := range ruleSets() {
		j.rules = append(j.rules, job(tb, "  metric_relabel_configs: "+rules+"\n"))
	}
	return j
}

// of makes a configuration of a number: rules from its first byte, the rest from its last 12 bits.
func (j *fuzzJobs) of(t *testing.T, number uint32) *jobState {
	bits, rules := number&0xfff, number>>24%uint32(len(j.rules))
	key := rules<<12 | bits
	j.mu.Lock()
	defer j.mu.Unlock()
	if made := j.made[key]; made != nil {
		return made
	}
	cfg := *j.rules[rules]
	oneOf := func(choices ...uint) uint {
		n := bits % 4
		bits >>= 2
		return choices[int(n)%len(choices)]
	}
	cfg.HonorLabels = oneOf(0, 1) == 1
	cfg.HonorTimestamps = oneOf(1, 0) == 1
	cfg.TrackTimestampsStaleness = oneOf(0, 1) == 1
	cfg.SampleLimit = oneOf(0, 0, 3, 7)
	if oneOf(0, 0, 0, 1) == 1 {
		cfg.LabelLimit, cfg.LabelNameLengthLimit, cfg.LabelValueLengthLimit = 6, 16, 12
	}
	if oneOf(0, 0, 0, 1) == 1 {
		cfg.MetricNameValidationScheme = model.LegacyValidation
	}
	state, err := newJobState(&cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	state.metrics = j.metrics.of(cfg.JobName)
	j.made[key] = state
	return state
}

// pair is two targets of a job that share series and layouts, each beside its reference.
type pair struct {
	t        *testing.T
	jobs     *fuzzJobs
	env      *env
	now      int64
	chunk    int // bytes a read of a page yields; 0: all
	mimeType string
	loops    [2]*loop
	refs     [2]*reference
	config   [2]uint32
}

func newPair(t *testing.T, jobs *fuzzJobs, config, reloaded uint32) *pair {
	table := series.NewTable()
	e := &env{table: table, layouts: exposition.NewLayouts(table), log: zap.NewNop(), metrics: jobs.metrics,
		seed: maphash.MakeSeed()}
	e.scratch.New = newScratch
	p := &pair{t: t, jobs: jobs, env: e, now: 1_000_000, config: [2]uint32{config, reloaded}}
	p.chunk = []int{0, 1, 7, 100}[config>>12%4]
	p.mimeType = "text/plain; charset=UTF-8"
	if config>>14%8 == 7 {
		p.mimeType = "application/openmetrics-text; version=1.0.0"
	}
	more := []string{"", "exported_job", "quantile", "zone", "le"}[config>>18%5]
	targets := [2]*target{fuzzTarget("a:1", "pod-1", more), fuzzTarget("a:1", "pod-1", more)}
	if config>>17%2 == 1 {
		targets[1] = fuzzTarget("b:1", "pod-2", more)
	}
	for i, target := range targets {
		job := jobs.of(t, config)
		p.loops[i], p.refs[i] = newLoop(e, job, target), newReference(target.labels, job.cfg)
	}
	return p
}

func fuzzTarget(instance, pod, more string) *target {
	b := labels.NewBuilder(labels.FromStrings("instance", instance, "job", "envoy", "namespace", "default", "pod_name",
		pod))
	if more != "" {
		b.Set(more, "the target's")
	}
	return &target{labels: b.Labels()}
}

// run reads pages alternately for both targets.
func (p *pair) run(page, edits []byte) {
	second := edit(page, edits[:len(edits)/2])
	third := edit(second, edits[len(edits)/2:])
	torn := third[:len(third)*2/3]
	for _, read := range []struct {
		target int
		page   []byte
		breaks bool
	}{
		{0, page, false}, {1, page, false}, {0, page, false}, {0, second, false}, {1, page, false}, {0, torn, true},
		{1, third, false}, {0, second, false}, {1, torn, true}, {1, page, true}, {0, page, false}, {1, third, false},
		{1, second, false}, {0, torn, false}, {0, third, true}, {0, third, false}, {1, page, true}, {1, third, false},
	} {
		if read.breaks {
			p.tear(read.target, read.page)
		} else {
			p.scrape(read.target, read.page)
		}
	}
	p.reload(0)
	for _, text := range [][]byte{third, page, page, nil, page} {
		p.scrape(0, text)
		p.scrape(1, text)
	}
	p.end()
}

// reload gives a target the other configuration.
func (p *pair) reload(target int) {
	old := p.loops[target]
	job := p.jobs.of(p.t, p.config[1])
	l := newLoop(p.env, job, old.target)
	l.inherit(old)()
	p.loops[target] = l
	p.refs[target].reload(job.cfg, job.seriesText == old.job.seriesText)
}

// scrape reads a page both ways and fails on any difference. It tells whether the scrape was good.
func (p *pair) scrape(target int, page []byte) (good bool) {
	p.t.Helper()
	p.now += 10_000
	want := p.refs[target].scrape(page, p.mimeType, p.now, p.now+maxAhead.Milliseconds())
	got, report := p.readBody(p.loops[target], &trickle{rest: page, most: p.chunk})
	if diff := want.diff(got); diff != "" {
		cfg := p.refs[target].cfg
		p.t.Fatalf("target %d: %s\n%q\nsample_limit %d, honor_labels %v, honor_timestamps %v, track %v, rules %+v",
			target, diff, page,
			cfg.SampleLimit, cfg.HonorLabels, cfg.HonorTimestamps, cfg.TrackTimestampsStaleness,
			cfg.MetricRelabelConfigs)
	}
	up := 1.0
	if want.failed {
		up = 0
	}
	c := want.counts
	if wanted := []float64{up, 0, float64(c.Scraped), float64(c.Kept), float64(c.Added)}; !slices.Equal(report,
		wanted) {
		p.t.Fatalf("report %v, want %v", report, wanted)
	}
	return !want.failed
}

// tear scrapes a page whose body breaks off.
func (p *pair) tear(target int, page []byte) {
	p.t.Helper()
	p.now += 10_000
	good := p.refs[target].good
	want := p.refs[target].scrape(nil, p.mimeType, p.now, p.now)
	want.failed, p.refs[target].good = true, good
	got, _ := p.readBody(p.loops[target], io.MultiReader(bytes.NewReader(page), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if diff := want.diff(got); diff != "" {
		p.t.Fatalf("target %d, torn: %s\n%q", target, diff, page)
	}
}

// readBody is loop.scrape less the network and the clock.
func (p *pair) readBody(l *loop, body io.Reader) (out outcome, report []float64) {
	p.t.Helper()
	var b series.Batch
	b.Reset(l.id, p.now)
	c, err := l.page.Read(body, p.mimeType, p.now+maxAhead.Milliseconds(), &b)
	shown := l.shownBeforeFailure(true, err)
	l.finishBatch(&b, c, 0, 0, shown, err)
	c.Unchanged = false
	if out.failed = err != nil; out.failed {
		c.Duplicates = 0 // nobody's business, and Prometheus counts them otherwise
	}
	out.counts = c
	report = b.Values[len(b.Values)-len(l.report.ids):]
	b.Series, b.Values = b.Series[:len(b.Series)-len(report)], b.Values[:len(b.Values)-len(report)]
	for i, s := range b.Starts { // whose they are is compared in exposition
		if s.Index >= len(b.Series) || i > 0 && s.Index <= b.Starts[i-1].Index || value.IsStaleNaN(b.Values[s.Index]) ||
			s.Time <= 0 {
			p.t.Fatalf("start %d of %v, of %d samples", i, b.Starts, len(b.Series))
		}
	}
	own := b.Times
	p.env.table.Read(func(v series.View) {
		var pairs []series.Pair
		var lb labels.ScratchBuilder
		for i, id := range b.Series {
			at := b.Time
			if len(own) > 0 && own[0].Index == i {
				at, own = own[0].Time, own[1:]
			}
			lb.Reset()
			pairs = v.Labels(pairs[:0], id, b.Target)
			for _, pair := range pairs { // must come sorted
				lb.Add(v.String(pair.Name), v.String(pair.Value))
			}
			text := seriesText(lb.Labels())
			if value.IsStaleNaN(b.Values[i]) {
				out.markers = append(out.markers, text)
			} else {
				out.samples = append(out.samples, outSample{text, bitsOf(b.Values[i]), at, restOf(&b, i)})
			}
		}
	})
	if len(own) != 0 {
		p.t.Errorf("timestamps of no sample: %v", own)
	}
	l.commit(&b, true, shown, err)
	return out, report
}

// restOf writes what belongs to a sample besides its value.
func restOf(b *series.Batch, index int) string {
	var text strings.Builder
	for _, h := range b.Histograms {
		if h.Index == index {
			text.WriteString(anyHistogram{h.Integer, h.Float}.text())
		}
	}
	for _, e := range b.Exemplars {
		if e.Index == index {
			text.WriteString(exemplarText(e.Exemplar))
		}
	}
	return text.String()
}

// end lets both targets show one series, and then go: what they showed before must be gone with its strings.
func (p *pair) end() {
	p.t.Helper()
	p.reload(1)
	p.scrape(1, []byte("\n"))
	good := true
	for i := range p.loops {
		good = p.scrape(i, []byte("z 1\n# EOF\n")) && good
	}
	if most := 2*len(p.loops[0].report.ids) + 2; good && p.env.table.Len() > most {
		p.t.Errorf("%d series after a page of one, want at most %d", p.env.table.Len(), most)
	}
	if n := p.env.layouts.Len(); good && p.loops[0].id == p.loops[1].id && n != 1 {
		p.t.Errorf("%d layouts of the same page, want one", n)
	}
	for _, l := range p.loops {
		l.release()
	}
	if s, n, pages := p.env.table.Len(), p.env.table.SymbolCount(), p.env.layouts.Len(); s+n+pages != 0 {
		p.t.Errorf("%d series, %d symbols, %d layouts left", s, n, pages)
	}
}

// trickle returns at most `most` bytes per read.
type trickle struct {
	rest []byte
	most int
}

func (c *trickle) Read(to []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	if c.most > 0 {
		to = to[:min(c.most, len(to))]
	}
	n := copy(to, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func bitsOf(v float64) uint64 { return math.Float64bits(v) }

// edit makes another page of one: four bytes an edit.
func edit(page, edits []byte) []byte {
	lines := bytes.SplitAfter(bytes.Clone(page), []byte("\n"))
	for ; len(edits) >= 4 && len(lines) < 200; edits = edits[4:] {
		at, arg := int(edits[1])%len(lines), int(edits[2])|int(edits[3])<<8
		lines = editLine(lines, int(edits[0]), at, arg)
	}
	return bytes.Join(lines, nil)
}

func editLine(lines [][]byte, op, at, arg int) [][]byte {
	line := bytes.TrimSuffix(lines[at], []byte("\n"))
	put := func(s string) [][]byte { lines[at] = []byte(s + "\n"); return lines }
	other := arg % len(lines)
	text := line
	if i := bytes.LastIndexAny(line, " \t"); i >= 0 {
		text = line[:i]
	}
	brace := bytes.IndexByte(line, '{')
	switch op % 17 {
	case 0, 1:
		return put(string(text) + " " + pick(oddValues(), arg))
	case 2:
		return slices.Delete(lines, at, min(at+1+arg%3, len(lines)))[:max(1, len(lines)-1-arg%3)]
	case 3:
		return slices.Insert(lines, other, bytes.Clone(lines[at]))
	case 4:
		lines[at], lines[other] = lines[other], lines[at]
	case 5, 6, 7:
		return slices.Insert(lines, at, []byte(pick(oddLines(), arg)+"\n"))
	case 8:
		if len(line) > 0 {
			line[arg%len(line)] ^= 1 << (arg >> 8 % 8)
		}
	case 9:
		return put(string(line[:arg%(len(line)+1)]))
	case 10:
		return put(string(line) + " " + pick([]string{"1000", "2000", "0", "-5", "99999999999999", "1e3"}, arg))
	case 11:
		name, _, _ := strings.Cut(string(text), "{")
		return slices.Insert(lines, at, fmt.Appendf(nil, "# TYPE %s %s\n", name,
			pick([]string{"counter", "gauge", "histogram", "summary", "untyped", "unknown"}, arg)))
	case 12:
		return slices.Insert(lines, at, []byte(pick([]string{"\n", " \n", "#\n", "# c\n", "\n\n", "# HELP a b\n"},
			arg)))
	case 13:
		if brace > 0 {
			return put(string(line[:brace+1]) + pick(oddLabels(), arg) + string(line[brace+1:]))
		}
	case 14: // labels in another order
		if end := bytes.LastIndexByte(line, '}'); brace > 0 && end > brace {
			parts := strings.Split(string(line[brace+1:end]), ",")
			slices.Reverse(parts)
			return put(string(line[:brace+1]) + strings.Join(parts, ",") + string(line[end:]))
		}
	case 15:
		slices.Reverse(lines)
	case 16:
		lines[at] = line // runs into the next
	}
	return lines
}

func pick(of []string, n int) string { return of[n%len(of)] }

func oddValues() []string {
	return []string{
		"0", "1", "2", "17", "999999999999999", "9007199254740993", "18446744073709551615",
		"309.89999999999997726263245567679",
		"nan", "NaN", "+Inf", "-Inf", "-0", "-5", ".5", "1e3", "1E-400", "1e999", "0x10", "1_0", "", "1 ", "1\t1000",
		"{", "5{x=\"1\"}",
	}
}

func oddLabels() []string {
	return []string{
		`x="1",`, `x="2",`, `x="",`, `instance="mine",`, `exported_instance="e",`, `job="j",`, `job="",`, `le="1",`,
		`le="1.0",`, `le="a",`,
		`quantile="0",`, `quantile="0.50",`, `__name__="other",`, `v="\\\"\n",`, `"quoted"="1",`, `"n.a-me",`,
		`reporter="twice",`,
		`pod_name="pod-1",`, "v=\"\xff\",", "v=\"\x00\",", `,`, ` x = "1" , `, `a:b="1",`, `a_long_label_name="1",`,
		`v="a long label value",`,
	}
}

func oddLines() []string {
	lines := []string{
		"a 1", "a{} 2", "a{x=\"1\"} 3", "a{x=\"1\",} 3", "a {x=\"1\"} 4", " a 5", "a  6", "a 7 1000", "a 8 1000",
		"a{x=\"\"} 9", "b 1 99999999999999",
		"h_bucket{le=\"1\"} 1", "h_bucket{le=\"1.0\"} 2", "h_bucket{le=\"+Inf\"} 3", "s{quantile=\"0.5\"} 1",
		"s{quantile=\"0.50\"} 2", "s{le=\"1\"} 3",
		"a_total{x=\"1\"} 1", "a_created{x=\"1\"} 1", "h_created 2.5", "s_created nan", "# TYPE a counter",
		"# TYPE a histogram", "# TYPE h_bucket histogram", "# TYPE s summary", "# TYPE s gauge", "# TYPE", "# EOF",
		"<html>", "\x00", "a\x001",
		"envoy_x{} 1", "istio_x{reporter=\"source\"} 1", "{\"utf8.name\"} 1", "{x=\"1\"} 1", "new 1", "z 1",
		"a{v=\"open", "close\"} 1", "\"", "# TYPE \"open",
	}
	for i := range 8 {
		lines = append(lines, fmt.Sprintf("new_%d{x=\"%d\"} %d", i, i, i))
	}
	return lines
}
