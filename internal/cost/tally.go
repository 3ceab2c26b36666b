package cost

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// tally is what all pages add up to.
type tally struct {
	totals Totals
	tables map[By][]Row

	families map[string]*family       // by name
	labels   map[string]series.Symbol // names of labels that series have
	byName   []nameTotal              // by metric name, for what would change without some
	inForce  inForce                  // what is summed already
}

// family is what a fix needs to know of a family.
type family struct {
	row   *Row
	names []string // metric names of its series, sorted
	jobs  jobSet
}

// nameTotal is a metric name with all its series.
type nameTotal struct {
	name   string
	family string
	typ    model.MetricType
	series int
	summed int     // of series: those that are summed already
	rate   float64 // samples per second
	bytes  float64 // on the pages, with the values as estimated
	jobs   jobSet

	pods, zero, buckets int
	page                int32 // the last one that had the name
}

// jobSet has a bit for each of the first 63 jobs, in the order of their names, and the last bit for all others.
type jobSet uint64

const jobBits = 64

// counter makes a tally.
type counter struct {
	reader      *tableReader
	shaper      *shaper
	controllers map[scrape.Pod]string
	brief       bool // for the history: without the distinct values of labels
	out         *tally

	jobs      []string
	names     []nameTotal // by index in shaper.names
	labelAt   []int32     // index in labelRows plus one, by Symbol of the label's name
	labelRows []Row
	labelPage []int32 // by index in labelRows: the last page that had the label
	values    map[series.Pair]struct{}
	stemSeen  []bool // by StemID: its labels are in values
	dropped   map[string]*droppedRow
	groups    map[By]map[string]*Row // pods, workloads, namespaces, jobs
}

type droppedRow struct {
	Row
	page int32
}

// count adds up the pages, of which those with the same lines are neighbours.
func count(
	pages []scrape.LastPage, r *tableReader, controllers map[scrape.Pod]string, blocks []aggregate.Block,
	zero func(series.ID) bool, brief bool,
) *tally {
	c := &counter{
		reader: r, shaper: newShaper(r, zero), controllers: controllers, brief: brief,
		values: map[series.Pair]struct{}{}, dropped: map[string]*droppedRow{}, jobs: jobsOf(pages),
		groups: map[By]map[string]*Row{ByPod: {}, ByWorkload: {}, ByNamespace: {}, ByJob: {}},
		out: &tally{tables: map[By][]Row{}, families: map[string]*family{}, labels: map[string]series.Symbol{},
			inForce: inForce{blocks: blocks}},
	}
	c.labelAt, c.stemSeen = make([]int32, len(c.shaper.nameAt)), make([]bool, len(c.shaper.byStem))
	var sh *shape
	for i := range pages {
		p := &pages[i]
		if i == 0 || !p.Shown.Same(pages[i-1].Shown) {
			sh = c.shaper.shapeOf(p.Shown)
		}
		c.addPage(int32(i+1), p, sh)
	}
	c.finish()
	return c.out
}

func jobsOf(pages []scrape.LastPage) []string {
	var jobs []string
	for i := range pages {
		if !slices.Contains(jobs, pages[i].Job) {
			jobs = append(jobs, pages[i].Job)
		}
	}
	slices.Sort(jobs)
	return jobs
}

func (c *counter) jobOf(job string) jobSet { return 1 << min(slices.Index(c.jobs, job), jobBits-1) }

// addPage adds page number n, from 1.
func (c *counter) addPage(n int32, p *scrape.LastPage, sh *shape) {
	value := valueBytes(p.Bytes, sh)
	perSecond := 0.0
	if p.Interval > 0 {
		perSecond = 1 / p.Interval.Seconds()
	}
	summed := c.addNames(n, p.Job, sh, value, perSecond)
	c.addLabels(n, p, sh, perSecond)
	for _, d := range sh.dropped {
		name := p.Shown.FamilyName(d.family)
		if name == "" {
			name = unknownFamily
		}
		row := c.dropped[name]
		if row == nil {
			row = &droppedRow{Row: Row{Name: name}}
			c.dropped[name] = row
		}
		row.Series += d.lines
		row.SamplesPerSecond += float64(d.lines) * perSecond
		row.bytes += value.of(d.text, d.lines)
		if row.page != n {
			row.page = n
			row.Pods++
		}
	}
	t := &c.out.totals
	left := 0
	for _, d := range sh.dropped {
		left += d.lines
	}
	zero := 0
	for _, name := range sh.names {
		zero += name.zero
	}
	t.Targets++
	t.Series += sh.series
	t.Dropped += left
	t.Buckets += sh.buckets
	t.zero += zero
	t.summed += summed
	t.PageBytes += p.Bytes
	t.WireBytes += p.WireBytes
	t.SamplesPerSecond += float64(sh.series) * perSecond
	t.PageBytesPerSecond += float64(p.Bytes) * perSecond
	t.WireBytesPerSecond += float64(p.WireBytes) * perSecond
	t.ScrapeSecondsPerSecond += p.Duration.Seconds() * perSecond
	add := func(by By, name string) {
		row := c.groups[by][name]
		if row == nil {
			row = &Row{Name: name}
			c.groups[by][name] = row
		}
		row.Series += sh.series
		row.SamplesPerSecond += float64(sh.series) * perSecond
		row.bytes += float64(p.Bytes)
		row.ScrapeSeconds += p.Duration.Seconds() * perSecond
		row.Buckets += sh.buckets
		row.zero += zero
		row.summed += summed
		row.Pods++
	}
	pod, namespace, workload := placeOf(p, c.controllers)
	add(ByPod, pod)
	add(ByWorkload, workload)
	add(ByNamespace, namespace)
	add(ByJob, p.Job)
}

// addNames adds the names of page number n, and returns how many of its series are summed.
func (c *counter) addNames(n int32, jobName string, sh *shape, value valueSize, perSecond float64) (summed int) {
	c.names = grown(c.names, len(c.shaper.names))
	job := c.jobOf(jobName)
	for _, name := range sh.names {
		total := &c.names[name.name]
		switch fate := c.out.inForce.of(jobName, name.name, &c.shaper.names[name.name]); fate {
		case fateBoth, fateSummed:
			total.summed += name.series
			summed += name.series
			if fate == fateSummed {
				c.out.totals.away += name.series
				c.out.totals.awayPerSecond += float64(name.series) * perSecond
			}
		}
		total.series += name.series
		total.rate += float64(name.series) * perSecond
		total.bytes += value.of(name.text, name.series)
		total.jobs |= job
		total.zero += name.zero
		if isBucket(c.shaper.names[name.name].text) {
			total.buckets += name.le
		}
		if total.page != n {
			total.page = n
			total.pods++
		}
	}
	return summed
}

// finish makes the rows of all tables.
func (c *counter) finish() {
	c.finishFamilies()
	if at := c.labelAt; len(at) > 0 && at[series.SymbolLe] > 0 {
		c.labelRows[at[series.SymbolLe]-1].Values = c.shaper.les
	}
	c.out.tables[ByLabel] = c.labelRows
	for by, rows := range c.groups {
		for _, row := range rows {
			c.out.tables[by] = append(c.out.tables[by], *row)
		}
	}
	for _, row := range c.dropped {
		c.out.tables[ByDropped] = append(c.out.tables[ByDropped], row.Row)
	}
	t := &c.out.totals
	for by, rows := range c.out.tables {
		whole := t.Series
		if by == ByDropped {
			whole = t.Dropped
		}
		for i := range rows {
			rows[i].PageBytes = int64(rows[i].bytes)
			rows[i].Share = share(rows[i].Series, whole)
		}
	}
	t.Jobs = c.jobs
}

func (c *counter) finishFamilies() {
	histograms := map[string]bool{}
	for _, facts := range c.shaper.names {
		if facts.bucket {
			if base, ok := strings.CutSuffix(facts.text, "_bucket"); ok {
				histograms[base] = true
			}
		}
	}
	rows := make([]Row, 0, len(histograms))
	at := map[string]int{}
	for i := range c.names {
		total, facts := &c.names[i], &c.shaper.names[i]
		if total.series == 0 {
			continue
		}
		total.name, total.typ = facts.text, facts.typ
		total.family = familyOf(facts.text, facts.typ, func(base string) bool { return histograms[base] })
		c.out.byName = append(c.out.byName, *total)
		n, ok := at[total.family]
		if !ok {
			n = len(rows)
			at[total.family] = n
			rows = append(rows, Row{Name: total.family})
			c.out.families[total.family] = &family{}
		}
		row, fam := &rows[n], c.out.families[total.family]
		row.Series += total.series
		row.SamplesPerSecond += total.rate
		row.bytes += total.bytes
		row.zero += total.zero
		row.summed += total.summed
		row.Buckets += total.buckets
		row.Pods = max(row.Pods, total.pods)
		fam.names = append(fam.names, total.name)
		fam.jobs |= total.jobs
	}
	for name, n := range at {
		slices.Sort(c.out.families[name].names)
		c.out.families[name].row = &rows[n]
	}
	slices.SortFunc(c.out.byName, func(a, b nameTotal) int { return cmp.Compare(a.name, b.name) })
	c.out.tables[ByFamily] = rows
}

// valueSize says how many bytes the value of a sample takes on a page, with the blank before it.
//
// The lengths of lines are known without their values, and so is the size of the page. What is left is divided among
// the samples. On a page that is not text (protobuf) all lines are scaled to the page's size.
type valueSize struct{ perSample, scale float64 }

func valueBytes(page int64, sh *shape) valueSize {
	rest := page - sh.text
	switch {
	case sh.samples == 0:
		return valueSize{0, 1}
	case rest >= 0:
		return valueSize{float64(rest) / float64(sh.samples), 1}
	default:
		return valueSize{0, float64(page) / float64(sh.text)}
	}
}

// of returns the bytes of lines whose text without values is known.
func (s valueSize) of(text int64, samples int) float64 {
	return float64(text)*s.scale + float64(samples)*s.perSample
}

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// sortPages puts pages with the same lines together.
func sortPages(pages []scrape.LastPage) {
	slices.SortStableFunc(pages, func(a, b scrape.LastPage) int {
		return cmp.Or(cmp.Compare(a.Shown.Order(), b.Shown.Order()), cmp.Compare(a.Job, b.Job))
	})
}
