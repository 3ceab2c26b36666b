package cost

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

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
	series int
	rate   float64 // samples per second
	bytes  float64 // on the pages, with the values as estimated
	jobs   jobSet

	pods, zero, buckets int
	page                int32 // the last one that had the name
}

// jobSet has a bit for each of the first 64 jobs, in the order of their names.
type jobSet uint64

// counter makes a tally.
type counter struct {
	reader *tableReader
	shaper *shaper
	brief  bool // for the history: without the distinct values of labels
	out    *tally

	jobs      []string
	names     []nameTotal // by index in shaper.names
	labelAt   []int32     // index in labelRows plus one, by Symbol of the label's name
	labelRows []Row
	labelPage []int32 // by index in labelRows: the last page that had the label
	values    map[series.Pair]struct{}
	stemSeen  []bool // by StemID: its labels are in values
	dropped   map[string]*droppedRow
	groups    [4]map[string]*Row // pods, workloads, namespaces, jobs
}

type droppedRow struct {
	Row
	page int32
	jobs jobSet
}

// groupings are the tables in the order of counter.groups.
func groupings() [4]By { return [4]By{ByPod, ByWorkload, ByNamespace, ByJob} }

// count adds up the pages, which it sorts so that those with the same lines are neighbours.
func count(pages []scrape.LastPage, without int, r *tableReader, zero func(series.ID) bool, brief bool) *tally {
	c := &counter{
		reader: r, shaper: newShaper(r, zero), brief: brief, values: map[series.Pair]struct{}{},
		dropped: map[string]*droppedRow{}, jobs: jobsOf(pages),
		out: &tally{tables: map[By][]Row{}, families: map[string]*family{}, labels: map[string]series.Symbol{}},
	}
	for i := range c.groups {
		c.groups[i] = map[string]*Row{}
	}
	c.labelAt, c.stemSeen = make([]int32, len(c.shaper.nameAt)), make([]bool, len(c.shaper.byStem))
	c.out.totals.Without = without
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

func (c *counter) jobOf(p *scrape.LastPage) jobSet {
	if i := slices.Index(c.jobs, p.Job); i < 64 {
		return 1 << i
	}
	return 0
}

// addPage adds page number n, from 1.
func (c *counter) addPage(n int32, p *scrape.LastPage, sh *shape) {
	value := valueBytes(p.Bytes, sh)
	perSecond := 0.0
	if p.Interval > 0 {
		perSecond = 1 / p.Interval.Seconds()
	}
	job := c.jobOf(p)
	c.addNames(n, sh, value, perSecond, job)
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
		row.jobs |= job
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
	t.PageBytes += p.Bytes
	t.WireBytes += p.WireBytes
	t.SamplesPerSecond += float64(sh.series) * perSecond
	t.PageBytesPerSecond += float64(p.Bytes) * perSecond
	t.WireBytesPerSecond += float64(p.WireBytes) * perSecond
	t.ScrapeSecondsPerSecond += p.Duration.Seconds() * perSecond
	pod, namespace, workload := placeOf(p)
	for i, name := range []string{pod, workload, namespace, p.Job} {
		row := c.groups[i][name]
		if row == nil {
			row = &Row{Name: name}
			c.groups[i][name] = row
		}
		row.Series += sh.series
		row.SamplesPerSecond += float64(sh.series) * perSecond
		row.bytes += float64(p.Bytes)
		row.ScrapeSeconds += p.Duration.Seconds() * perSecond
		row.Buckets += sh.buckets
		row.zero += zero
		row.Pods++
	}
}

func (c *counter) addNames(n int32, sh *shape, value valueSize, perSecond float64, job jobSet) {
	c.names = grown(c.names, len(c.shaper.names))
	for _, name := range sh.names {
		total := &c.names[name.name]
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
}

// addLabels adds the labels of a page: those of its stems, of the target, and le.
func (c *counter) addLabels(n int32, p *scrape.LastPage, sh *shape, perSecond float64) {
	var byBit [64]int // series that have the target's label of this bit
	for i := 0; i < len(sh.stems); {
		c.reader.read(func(v series.View) (steps int) {
			for ; i < len(sh.stems) && steps < maxWork; i++ {
				stem := sh.stems[i]
				own, mask := v.OwnLabels(stem.stem)
				for _, pair := range own {
					c.addLabel(v, n, pair, stem.series, true, perSecond)
					if !c.brief && !c.stemSeen[stem.stem] {
						c.addValue(pair)
					}
				}
				c.stemSeen[stem.stem] = true
				for bit := 0; mask != 0; bit, mask = bit+1, mask>>1 {
					if mask&1 != 0 {
						byBit[bit] += stem.series
						steps++
					}
				}
				steps += 1 + len(own)
			}
			return steps
		})
	}
	c.reader.read(func(v series.View) int {
		pairs := v.TargetPairs(p.Target)
		for bit, pair := range pairs[:min(len(pairs), len(byBit))] {
			if byBit[bit] > 0 {
				c.addLabel(v, n, pair, byBit[bit], false, perSecond)
				c.addValue(pair)
			}
		}
		return len(pairs)
	})
	le, text := 0, int64(0)
	for _, name := range sh.names {
		le += name.le
		text += name.leText
	}
	if le > 0 {
		c.reader.read(func(v series.View) int {
			c.addLabel(v, n, series.Pair{Name: series.SymbolLe}, le, false, perSecond)
			return 1
		})
		c.labelRows[c.labelAt[series.SymbolLe]-1].bytes += float64(text)
	}
}

// addLabel adds a label that many series of a page have. printed says that its bytes are on the page.
func (c *counter) addLabel(v series.View, n int32, pair series.Pair, count int, printed bool, perSecond float64) {
	at := c.labelAt[pair.Name]
	if at == 0 {
		name := v.String(pair.Name)
		c.labelRows = append(c.labelRows, Row{Name: name})
		c.labelPage = append(c.labelPage, 0)
		at = int32(len(c.labelRows))
		c.labelAt[pair.Name] = at
		c.out.labels[name] = pair.Name
	}
	row := &c.labelRows[at-1]
	row.Series += count
	row.SamplesPerSecond += float64(count) * perSecond
	if printed {
		row.bytes += float64(labelText(len(row.Name), len(v.String(pair.Value)))) * float64(count)
	}
	if c.labelPage[at-1] != n {
		c.labelPage[at-1] = n
		row.Pods++
	}
}

// addValue counts the value of a label if it is a new one.
func (c *counter) addValue(pair series.Pair) {
	if _, known := c.values[pair]; !known {
		c.values[pair] = struct{}{}
		c.labelRows[c.labelAt[pair.Name]-1].Values++
	}
}

// finish makes the rows of all tables.
func (c *counter) finish() {
	c.finishFamilies()
	if at := c.labelAt; len(at) > 0 && at[series.SymbolLe] > 0 {
		c.labelRows[at[series.SymbolLe]-1].Values = c.shaper.les
	}
	c.out.tables[ByLabel] = c.labelRows
	for i, by := range groupings() {
		for _, row := range c.groups[i] {
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
		total.name = facts.text
		total.family = familyOf(facts.text, facts.typ, func(base string) bool { return histograms[base] })
		c.out.byName = append(c.out.byName, *total)
		i, ok := at[total.family]
		if !ok {
			i = len(rows)
			at[total.family] = i
			rows = append(rows, Row{Name: total.family})
			c.out.families[total.family] = &family{}
		}
		row, fam := &rows[i], c.out.families[total.family]
		row.Series += total.series
		row.SamplesPerSecond += total.rate
		row.bytes += total.bytes
		row.zero += total.zero
		row.Buckets += total.buckets
		row.Pods = max(row.Pods, total.pods)
		fam.names = append(fam.names, total.name)
		fam.jobs |= total.jobs
	}
	for name, i := range at {
		slices.Sort(c.out.families[name].names)
		c.out.families[name].row = &rows[i]
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

const (
	unknownFamily = "(family not known)"
	noPlace       = "(not a pod)"

	podMeta = model.MetaLabelPrefix + "kubernetes_"
)

// placeOf returns the names of the pod, the namespace and the workload that a page belongs to. A target that is no pod
// goes by its label instance.
func placeOf(p *scrape.LastPage) (pod, namespace, workload string) {
	found := p.Discovered()
	name := found.Get(podMeta + "pod_name")
	if name == "" {
		return p.Labels.Get(model.InstanceLabel), noPlace, noPlace
	}
	namespace = found.Get(podMeta + "namespace")
	return namespace + "/" + name, namespace, namespace + "/" + workloadOf(name)
}

// workloadOf returns the name of the workload that a pod's name begins with: reviews-v1-6c9f8bcb9d-mm6jd is a pod of
// the Deployment reviews-v1, postgres-0 of the StatefulSet postgres, and node-agent-x7k2p of the DaemonSet node-agent.
func workloadOf(pod string) string {
	rest, last, ok := cutLast(pod)
	switch {
	case !ok:
		return pod
	case isNumber(last):
		return rest
	case len(last) != 5 || !isRandom(last):
		return pod
	}
	if deployment, hash, ok := cutLast(rest); ok && len(hash) >= 8 && len(hash) <= 10 && isRandom(hash) {
		return deployment
	}
	return rest
}

func cutLast(s string) (rest, last string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isRandom reports whether Kubernetes may have made s: it uses no vowels, and not the digits 0, 1 and 3.
func isRandom(s string) bool { return strings.Trim(s, "bcdfghjklmnpqrstvwxz2456789") == "" }

// sortPages puts pages with the same lines together.
func sortPages(pages []scrape.LastPage) {
	slices.SortStableFunc(pages, func(a, b scrape.LastPage) int {
		return cmp.Or(cmp.Compare(a.Shown.Order(), b.Shown.Order()), cmp.Compare(a.Job, b.Job))
	})
}
