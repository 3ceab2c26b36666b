package aggregate

import (
	"slices"
	"time"
)

// truth is what has happened in the whole mesh. It knows nothing of how aggregates are computed.
type truth struct {
	lives   int
	total   map[string]float64    // by keyOf: requests so far
	sent    map[string]float64    // by keyOf: what the aggregates of all agents have increased by
	claimed map[lifeOfKey]float64 // what agents may have counted of the lines of one life
	history map[string][]truthAt  // by keyOf, of calm worlds
	samples map[string][]truthAt  // of the aggregates, of calm worlds, without the first
	base    map[string]float64    // what the first pages showed
}

type lifeOfKey struct {
	life int
	key  string
}

type truthAt struct {
	at    time.Time
	total float64
}

func newTruth() truth {
	return truth{total: map[string]float64{}, sent: map[string]float64{}, claimed: map[lifeOfKey]float64{},
		history: map[string][]truthAt{}, samples: map[string][]truthAt{}, base: map[string]float64{}}
}

func (t *truth) newLife() int { t.lives++; return t.lives }

// remember notes what is true now.
func (t *truth) remember(w *world) {
	if !w.calm {
		return
	}
	for _, tg := range w.targets {
		tg.happen(false)
	}
	for key, total := range t.total {
		t.history[key] = append(t.history[key], truthAt{time.Now(), total})
	}
}

// at returns how many requests had happened for sure until a time, or at most.
func (t *truth) at(key string, when time.Time, atMost bool) float64 {
	before := 0.0
	for _, h := range t.history[key] {
		if h.at.After(when) {
			if atMost {
				return h.total
			}
			break
		}
		before = h.total
	}
	if atMost {
		return t.total[key]
	}
	return before
}

// bounds are the least and the most that an agent may count.
type simBounds struct{ least, most float64 }

// increases returns what an agent may count of the rows of a page.
func (t *truth) increases(s *simSource, p *simPage) []simBounds {
	all := make([]simBounds, len(p.rows))
	for i := range slices.Backward(p.rows) {
		r := &p.rows[i]
		all[i] = t.increase(s, p, r, s.agent.blocks[r.block].skips)
		if i+1 < len(all) && r.isBelow(&p.rows[i+1]) { // a bucket does not grow by more than the next one
			all[i].least = min(all[i].least, all[i+1].least)
		}
	}
	return all
}

// increase returns what an agent may count of a row of a page. This is the table of semantics, in terms of what has
// really happened:
//
//	the lines lived on           what was added
//	new lines                    all of them, or nothing if the block leaves out births
//	the lines began again at 0   all of them. If they have grown past what they had, that is not seen
//	the first page               nothing, except of a process that nobody can have seen before. The first page under a
//	                             changed block is one, too
//	lines that were missing      what was added since they were counted last, if much of a page was missing. If they
//	                             began again at 0 meanwhile, and have grown past what they had, that is not seen
//	new lines of a partial page  nothing, and of the page after it. They may be old
func (t *truth) increase(s *simSource, now *simPage, r *simRow, skipsBirths bool) simBounds {
	before, looksNew := s.last, s.looksLikeRestart(now)
	if before == nil {
		return simBounds{}
	}
	first := simBounds{}
	if looksNew {
		first.most = r.value // all of it has happened since
	}
	if !before.knows(now, r.block) {
		return first
	}
	last := before.row(r.key)
	isRestart := before.process != now.process && looksNew
	if last == nil {
		switch lost := s.lost[r.key]; {
		case lost != nil && !s.uptimeFell(now):
			return lost.increase(now, r, first, skipsBirths)
		case before.isPartial || now.isPartial:
			return first
		case skipsBirths && !isRestart: // all of it may have happened since, but it is a birth
			return first
		}
		return simBounds{r.value, r.value}
	}
	switch {
	case last.life != r.life && (isRestart || r.value < last.value):
		return simBounds{r.value, r.value}
	case last.life != r.life:
		return simBounds{r.value - last.value, r.value}
	default:
		return simBounds{r.value - last.value, r.value - last.value}
	}
}

// increase returns what an agent may count of a line that was missing. first is for one that it does not know.
func (lost *simLost) increase(now *simPage, r *simRow, first simBounds, skipsBirths bool) simBounds {
	switch {
	case lost.version == 0 || lost.version != now.versions[r.block]:
		return first
	case lost.life == r.life:
		return simBounds{r.value - lost.value, r.value - lost.value}
	case skipsBirths:
		return simBounds{0, r.value}
	case r.value < lost.value:
		return simBounds{r.value, r.value}
	default:
		return simBounds{r.value - lost.value, r.value}
	}
}

// knows reports whether a page was summed by the same block as a later one.
func (p *simPage) knows(now *simPage, block int) bool {
	return p.versions[block] > 0 && p.versions[block] == now.versions[block]
}

// looksLikeRestart reports whether a page looks as if it were of another process: the uptime is smaller and half of the
// lines are, or nine tenths are and there is no uptime.
func (s *simSource) looksLikeRestart(now *simPage) bool {
	if s.last == nil {
		return false
	}
	share := 0.9
	if now.uptime >= 0 && s.uptime >= 0 {
		if share = 0.5; now.uptime >= s.uptime {
			return false
		}
	}
	fell, had := 0, 0
	for _, r := range now.rows {
		if last := s.last.row(r.key); last != nil && last.value > 0 && s.last.knows(now, r.block) {
			had++
			if r.value < last.value {
				fell++
			}
		}
	}
	return had > 0 && float64(fell) >= share*float64(had)
}

// checkCalm checks values of a world where nothing goes wrong, by time: at a tick, an aggregate has all that happened
// until the scrapes of the interval before began, and nothing that happened after the tick. It grows between two ticks
// by no more than what happened between them, and in the interval before.
func (t *truth) checkCalm(w *world, values map[string]float64, tick time.Time) {
	wide := w.interval + w.longestScrape()
	for key, v := range values {
		samples := t.samples[key]
		t.samples[key] = append(samples, truthAt{tick, v})
		if len(samples) < 3 {
			continue // not every target has been scraped, and the first sample is 0
		}
		if least := t.at(key, tick.Add(-wide), false) - t.base[key]; v < least {
			w.t.Errorf("%s at %v is %v, less than %v", key, tick, v, least)
		}
		if most := t.at(key, tick, true); v > most {
			w.t.Errorf("%s at %v is %v, more than %v", key, tick, v, most)
		}
		from := samples[2+w.random.IntN(len(samples)-2)]
		most := t.at(key, tick, true) - t.at(key, from.at.Add(-wide), false)
		if v-from.total > most {
			w.t.Errorf("%s grows by %v from %v to %v, and %v is true", key, v-from.total, from.at, tick, most)
		}
	}
}
