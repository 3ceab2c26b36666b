package aggregate

import (
	"maps"
	"strings"
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

// increase returns what an agent may count of a row of a page. before is the page that it has read last in this
// sequence of pages; nil: none. This is the table of semantics, in terms of
// what has really happened:
//
//	the lines lived on           what was added
//	new lines                    all of them, or nothing if the block leaves out births. If they vanished with half of
//	                             an earlier page: what they have more than then
//	the lines began again at 0   all of them. If they have grown past what they had, that is not seen
//	the first page               nothing, except of a process that nobody can have seen before. The first page under a
//	                             changed block is one, too
func (t *truth) increase(before, now *simPage, r *simRow, skipsBirths bool) simBounds {
	switch {
	case before == nil:
		return simBounds{}
	case !before.knows(now, r.block) && before.looksLikeRestart(now):
		return simBounds{0, r.value} // all of it has happened since
	case !before.knows(now, r.block):
		return simBounds{}
	}
	last := before.row(r.key)
	old, vanished := before.vanished[r.key]
	isRestart := before.process != now.process && before.looksLikeRestart(now)
	switch {
	case last == nil && vanished && old.life == r.life:
		return simBounds{r.value - old.value, r.value - old.value}
	case last == nil && vanished && !isRestart:
		return simBounds{0, r.value} // as if the page before had only left them out
	case last == nil && skipsBirths && !isRestart && before.looksLikeRestart(now):
		return simBounds{0, r.value} // all of it has happened since, but it is a birth
	case last == nil && skipsBirths && !isRestart:
		return simBounds{}
	case last == nil, last.life != r.life && (isRestart || r.value < last.value):
		return simBounds{r.value, r.value}
	case last.life != r.life:
		return simBounds{before.leastGrowth(now, r), r.value}
	default:
		return simBounds{r.value - last.value, r.value - last.value}
	}
}

// leastGrowth returns by how much a line seems to have grown at least, if it is not seen that it began again at 0. A
// bucket counts no more than those above it.
func (p *simPage) leastGrowth(now *simPage, r *simRow) float64 {
	least := r.value - p.row(r.key).value
	if !strings.HasSuffix(r.name, "_bucket") {
		return least
	}
	for i := range now.rows {
		other := &now.rows[i]
		if other.life == r.life && other.name == r.name && other.value >= r.value {
			least = min(least, other.value-p.row(other.key).value)
		}
	}
	return max(0, least)
}

// follow notes which lines have vanished together with at least half of the page. A page may leave out a part without
// an error, so their values are remembered, unless the uptime shows another process.
func (p *simPage) follow(before *simPage) {
	if before == nil || p.uptime >= 0 && p.uptime < before.known {
		return
	}
	gone, summed := map[string]simRow{}, 0
	for _, r := range before.rows {
		if before.versions[r.block] == 0 {
			continue
		}
		summed++
		if p.row(r.key) == nil {
			gone[r.key] = r
		}
	}
	p.vanished = maps.Clone(before.vanished)
	for _, r := range p.rows {
		delete(p.vanished, r.key)
	}
	if len(gone)*2 >= summed && len(gone) > 0 {
		if p.vanished == nil {
			p.vanished = map[string]simRow{}
		}
		maps.Copy(p.vanished, gone)
	}
}

// knows reports whether a page was summed by the same block as a later one.
func (p *simPage) knows(now *simPage, block int) bool {
	return p.versions[block] > 0 && p.versions[block] == now.versions[block]
}

// looksLikeRestart reports whether a page looks as if it were of another process: the uptime is smaller and half of the
// lines are, or nine tenths are and there is no uptime.
func (p *simPage) looksLikeRestart(now *simPage) bool {
	share := 0.9
	if now.uptime >= 0 && p.known >= 0 {
		if share = 0.5; now.uptime >= p.known {
			return false
		}
	}
	fell, had := 0, 0
	for _, r := range now.rows {
		if last := p.row(r.key); last != nil && last.value > 0 && p.knows(now, r.block) {
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
