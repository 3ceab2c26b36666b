package scrape

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// lessons remember for a short time what new lines became. Replicas print the same lines, and where the same text
// becomes the same series for all of them, only the first has to parse it, apply the rules and search the table.
//
// A lesson of the line
//
//	istio_requests_total{reporter="destination",response_code="200"} 17
//
// says that it is series 4711, under the hash of the text before the value and of the scope of the target (scopeOf).
//
// Cost: 24 bytes for each lesson and some 7 of index, at most 8 MiB. They are gone as soon as no target learns.
type lessons struct {
	mu      sync.Mutex // guards the following
	recent  lessonSet
	older   lessonSet // found too, until recent is full
	used    bool      // since the last call of expire
	expires time.Time // if they are not used until then
	max     int       // lessons in a set; 0: maxLessons. Tests set it
}

// lesson is what a line became for the target that showed it first.
type lesson struct {
	line   uint64 // hash of its text and of the scope of its target
	series series.Ref
	marks
	kept bool // rules drop a line that is not
}

const (
	maxLessons = 1 << 17
	// lessonsStay is how long lessons are kept after the last one was learned or found.
	lessonsStay = 5 * time.Second
)

// find returns the lesson of a line.
func (ls *lessons) find(line uint64) (_ lesson, ok bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if found := ls.recent.find(line); found != nil {
		ls.used = true
		return *found, true
	}
	if found := ls.older.find(line); found != nil {
		ls.used = true
		return *found, true
	}
	return lesson{}, false
}

// add keeps a lesson instead of an earlier one of the line.
func (ls *lessons) add(l lesson) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.used = true
	if found := ls.recent.find(l.line); found != nil {
		*found = l
		return
	}
	most := ls.max
	if most == 0 {
		most = maxLessons
	}
	if ls.recent.n >= most {
		ls.recent, ls.older = lessonSet{}, ls.recent
	}
	ls.recent.add(l)
}

// expire drops all lessons if none was learned or found for some seconds.
func (ls *lessons) expire(now time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	switch {
	case ls.used:
		ls.used, ls.expires = false, now.Add(lessonsStay)
	case ls.recent.n > 0 && now.After(ls.expires):
		ls.recent, ls.older = lessonSet{}, lessonSet{}
	}
}

// lessonSet are lessons that can be found by their line.
type lessonSet struct {
	chunks [][]lesson // of lessonChunk each, so that a large set grows without being copied
	index  hashindex.Index
	n      int
}

const lessonChunk = 512

func (s *lessonSet) at(n uint32) *lesson { return &s.chunks[n/lessonChunk][n%lessonChunk] }

func (s *lessonSet) find(line uint64) *lesson {
	n, ok := s.index.Find(line, func(n uint32) bool { return s.at(n).line == line })
	if !ok {
		return nil
	}
	return s.at(n)
}

func (s *lessonSet) add(l lesson) {
	if s.n%lessonChunk == 0 {
		s.chunks = append(s.chunks, make([]lesson, 0, lessonChunk))
	}
	last := &s.chunks[len(s.chunks)-1]
	*last = append(*last, l)
	s.index.Add(l.line, uint32(s.n), func(n uint32) uint64 { return s.at(n).line })
	s.n++
}

// scopeOf returns a hash of everything of a target and its job that decides what a line becomes, if its series differ
// from those of other targets in the values of the target's own labels only. The scope is then the configuration of the
// job and the names of the target's labels. It is 0 where more decides: where rules read or write one of the target's
// labels, or where its labels are invalid or too long.
func scopeOf(seed maphash.Seed, j *jobState, target labels.Labels) uint64 {
	if !areOrdinary(j, target) || !leaveTarget(j.cfg.MetricRelabelConfigs, target) {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(j.seriesText)
	target.Range(func(l labels.Label) {
		_ = h.WriteByte(0xff) // which no name has
		_, _ = h.WriteString(l.Name)
	})
	return h.Sum64()
}

// areOrdinary reports whether no target with labels of these names can fail a line by their values, and whether the
// table keeps them apart from those of a line.
func areOrdinary(j *jobState, target labels.Labels) bool {
	special := target.Has(model.MetricNameLabel) || target.Has(model.BucketLabel)
	if special || target.Len() > series.MaxMasked || !target.IsValid(j.cfg.MetricNameValidationScheme) {
		return false
	}
	limit := int(j.cfg.LabelValueLengthLimit)
	return target.Validate(func(l labels.Label) error {
		if limit > 0 && len(l.Value) > limit {
			return errLongValue
		}
		return nil
	}) == nil
}

// leaveTarget reports whether rules neither read nor write a label of the target. They may drop labels by name.
func leaveTarget(rules []*promrelabel.Config, target labels.Labels) bool {
	for _, r := range rules {
		for _, name := range r.SourceLabels {
			if target.Has(string(name)) {
				return false
			}
		}
		switch r.Action {
		case promrelabel.Keep, promrelabel.Drop, promrelabel.LabelDrop, promrelabel.LabelKeep:
		case promrelabel.Replace, promrelabel.HashMod, promrelabel.KeepEqual, promrelabel.DropEqual,
			promrelabel.Lowercase, promrelabel.Uppercase:
			if strings.Contains(r.TargetLabel, "$") || target.Has(r.TargetLabel) {
				return false
			}
		default: // labelmap copies labels of any name
			return false
		}
	}
	return true
}
