package cost

import (
	"slices"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// fate is what becomes of a series.
type fate uint8

const (
	fateUnknown fate = iota
	fateSent
	fateBoth   // it is summed, and sent, too
	fateSummed // it is summed, and not sent
)

// inForce says which series the blocks of a configuration sum.
type inForce struct {
	blocks []aggregate.Block
	byJob  map[string][]fate // by index in shaper.names
}

// of returns the fate of the series of a name, which has the given index, in a job.
func (f *inForce) of(job string, index int, name *nameFacts) fate {
	if len(f.blocks) == 0 {
		return fateSent
	}
	if f.byJob == nil {
		f.byJob = map[string][]fate{}
	}
	known := grown(f.byJob[job], index+1)
	f.byJob[job] = known
	if known[index] == fateUnknown {
		known[index] = f.decide(job, name)
	}
	return known[index]
}

// decide returns what the first block that matches does.
func (f *inForce) decide(job string, name *nameFacts) fate {
	for i := range f.blocks {
		b := &f.blocks[i]
		if !slices.Contains(b.Jobs, job) || !b.Match.MatchString(name.text) {
			continue
		}
		isGauge := name.typ == model.MetricTypeGauge && b.Gauges != aggregate.GaugesRaw && b.Gauges != ""
		switch {
		case !isGauge && !aggregate.IsCounter(name.text, name.typ):
			return fateSent
		case b.KeepRaw:
			return fateBoth
		default:
			return fateSummed
		}
	}
	return fateSent
}

// entryOf returns the index of the first block that matches one of the names in a job; -1: there is none.
func (f *inForce) entryOf(jobs []string, names []string) int {
	return slices.IndexFunc(f.blocks, func(b aggregate.Block) bool {
		return slices.ContainsFunc(b.Jobs, func(job string) bool { return slices.Contains(jobs, job) }) &&
			slices.ContainsFunc(names, b.Match.MatchString)
	})
}

// nameKinds says of the names of series whether they are summed, and of which histogram they are.
type nameKinds struct {
	sums     func(job, name string, typ model.MetricType) bool
	job      string
	byName   []nameKind        // by Symbol
	families map[string]uint32 // numbers of histograms, from 1
	shown    exposition.Shown  // the page that bounds are of
	bounds   map[boundsKey]uint64
	chunk    []series.ID
}

// nameKind is what is known of a name in a job.
type nameKind struct {
	known, summed bool
	meta          series.MetaID // for which it is known
	family        uint32        // number of the histogram; 0: none
}

// boundsKey is a histogram on a page. Its bounds are the sum of the hashes of its values of le.
type boundsKey struct {
	family uint32
	stem   series.StemID
}

func newNameKinds(sums func(job, name string, typ model.MetricType) bool, symbols int) *nameKinds {
	return &nameKinds{sums: sums, byName: make([]nameKind, symbols), families: map[string]uint32{}}
}

// begin prepares for the series of a page.
func (k *nameKinds) begin(r *tableReader, p *scrape.LastPage) {
	same := k.bounds != nil && k.job == p.Job && k.shown.Same(p.Shown)
	if k.job != p.Job {
		k.job = p.Job
		clear(k.byName)
	}
	if same {
		return
	}
	k.shown, k.bounds = p.Shown, map[boundsKey]uint64{}
	for line := range p.Shown.Lines() {
		if line.Kind == exposition.LineSeries && !line.Repeated {
			if k.chunk = append(k.chunk, line.Series); len(k.chunk) == chunkLines {
				k.addBounds(r)
			}
		}
	}
	k.addBounds(r)
}

func (k *nameKinds) addBounds(r *tableReader) {
	r.read(func(v series.View) int {
		for _, id := range k.chunk {
			parts := v.Parts(id)
			if parts.Le == 0 {
				continue
			}
			if kind := k.of(v, parts); kind != nil && kind.family != 0 {
				k.bounds[boundsKey{kind.family, parts.Stem}] += mix(uint64(parts.Le))
			}
		}
		return len(k.chunk)
	})
	k.chunk = k.chunk[:0]
}

// of returns what is known of the name of a series; nil: it is not summed.
func (k *nameKinds) of(v series.View, parts series.Parts) *nameKind {
	kind := &k.byName[parts.Name]
	if !kind.known || kind.meta != parts.Meta {
		name := v.String(parts.Name)
		typ, _, _ := v.Meta(parts.Meta)
		*kind = nameKind{known: true, meta: parts.Meta, summed: k.sums(k.job, name, typ)}
		if typ == model.MetricTypeHistogram {
			kind.family = k.familyNumber(familyOf(name, typ, nil))
		}
	}
	if !kind.summed {
		return nil
	}
	return kind
}

func (k *nameKinds) familyNumber(name string) uint32 {
	n, ok := k.families[name]
	if !ok {
		n = uint32(len(k.families) + 1)
		k.families[name] = n
	}
	return n
}

// boundsOf returns the bounds of the histogram that a series belongs to; 0: it belongs to none.
func (k *nameKinds) boundsOf(kind *nameKind, stem series.StemID) uint64 {
	if kind.family == 0 {
		return 0
	}
	return k.bounds[boundsKey{kind.family, stem}]
}
