package remotewrite

import (
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// ruling is what write_relabel_configs make of a series of a target.
type ruling struct {
	kept   bool
	labels labels.Labels // the whole set, external labels included; empty if the rules changed nothing
	hash   uint64        // of labels

	gen  uint32 // of the series' id
	used int64  // sweep in which it was asked for last
}

// changed tells that the labels are not the table's any more.
func (r *ruling) changed() bool { return r.kept && !r.labels.IsEmpty() }

type ruleKey struct {
	target uint64 // stable hash: ids are reused
	id     series.ID
}

// ruleCache applies the rules once per series and target label set. Guarded by the lane.
type ruleCache struct {
	settings *settings // whose rules these are
	rulings  map[ruleKey]*ruling
	sweeps   int64
	swept    time.Time
	builder  *labels.Builder
	scratch  labels.ScratchBuilder
	pairs    []series.Pair
}

// rule returns what the rules of s make of a series.
func (c *ruleCache) rule(s *settings, v series.View, id series.ID, target series.TargetID, hash uint64) *ruling {
	if c.settings != s {
		*c = ruleCache{settings: s, rulings: map[ruleKey]*ruling{}, swept: time.Now(), builder: labels.NewBuilder(labels.EmptyLabels())}
	}
	key := ruleKey{hash, id}
	r := c.rulings[key]
	if r == nil || r.gen != v.Gen(id) {
		if r == nil {
			c.sweep()
		}
		r = c.apply(s, v, id, target)
		c.rulings[key] = r
	}
	r.used = c.sweeps
	return r
}

// whole is the label set of a series as the rules see it: external labels included.
func (c *ruleCache) whole(s *settings, v series.View, id series.ID, target series.TargetID) labels.Labels {
	if c.builder == nil {
		c.builder = labels.NewBuilder(labels.EmptyLabels())
	}
	c.pairs = v.Labels(c.pairs[:0], id, target)
	c.scratch.Reset()
	for _, p := range c.pairs {
		if p.Value != 0 {
			c.scratch.Add(v.String(p.Name), v.String(p.Value))
		}
	}
	c.builder.Reset(c.scratch.Labels())
	for _, l := range s.external {
		if c.builder.Get(l.Name) == "" {
			c.builder.Set(l.Name, l.Value)
		}
	}
	return c.builder.Labels()
}

func (c *ruleCache) apply(s *settings, v series.View, id series.ID, target series.TargetID) *ruling {
	before := c.whole(s, v, id, target)
	r := &ruling{gen: v.Gen(id)}
	if r.kept = relabel.ProcessBuilder(c.builder, s.WriteRelabelConfigs...); !r.kept {
		return r
	}
	after := c.builder.Labels()
	if after.IsEmpty() {
		r.kept = false // as Prometheus: nothing is left to send
		return r
	}
	if !labels.Equal(before, after) {
		r.labels, r.hash = after, hashLabels(after)
	}
	return r
}

// sweep forgets rulings that nobody asked for since the last sweep.
func (c *ruleCache) sweep() {
	if time.Since(c.swept) < historySweep {
		return
	}
	for k, r := range c.rulings {
		if r.used != c.sweeps {
			delete(c.rulings, k)
		}
	}
	c.swept = time.Now()
	c.sweeps++
}

// hashLabels is the same in every process. It must agree with hashSeries.
func hashLabels(ls labels.Labels) uint64 {
	var buf [1024]byte
	b := buf[:0]
	ls.Range(func(l labels.Label) { b = appendHashed(b, l.Name, l.Value) })
	return xxhash.Sum64(b)
}

// hashSeries hashes the labels of a series as the table has them.
func hashSeries(v series.View, pairs []series.Pair) uint64 {
	var buf [1024]byte
	b := buf[:0]
	for _, p := range pairs {
		if p.Value != 0 {
			b = appendHashed(b, v.String(p.Name), v.String(p.Value))
		}
	}
	return xxhash.Sum64(b)
}

func appendHashed(b []byte, name, value string) []byte {
	b = append(append(b, name...), 0xff)
	return append(append(b, value...), 0xff)
}
