package deliver

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

const (
	badSeriesTime = 10 * time.Minute
	maxBadSeries  = 10_500 // per lane, and as many suspects: the number of series of a request by default
	MaxAlone      = 2      // bad series of one message that are sent alone; the others are sent together
)

// badSeries are the series of one lane that a 1.0 receiver refused lately, and suspects: series of a rejected request
// that a search did not reach. They are sent apart from other series, so that a message costs at most one request for
// all other series, one for the suspects, MaxAlone for single bad series, and one for all other bad series. The zero
// value is empty. Owned by the sender of the lane.
type badSeries struct {
	seed     maphash.Seed
	began    time.Time
	swept    time.Duration       // when forgetUnseen was last called, since began
	known    map[uint64]badEntry // by labels
	suspects int                 // of known
}

// badEntry is what is known of a series. Times are since badSeries.began.
type badEntry struct {
	state   badState
	refused time.Duration // when it was last refused alone; not set for a suspect
	tried   time.Duration // when it was last sent alone
	seen    time.Duration // when a message last had it
}

type badState byte

const (
	suspect      badState = iota // a search did not reach it; forgotten when it arrives
	refusedAlone                 // when it was last sent alone
	// it has arrived since it was refused; forgotten when it arrives badSeriesTime after the refusal
	recovering
)

func (o *badSeries) now() time.Duration { return time.Since(o.began) }

// add remembers all series of a message as refused alone, or as suspects.
func (o *badSeries) add(c *wire.Content, alone bool) {
	if o.known == nil {
		o.seed, o.began, o.known = maphash.MakeSeed(), time.Now(), map[uint64]badEntry{}
	}
	now := o.now()
	if o.full(alone, c.Len()) {
		o.forgetUnseen(now)
	}
	for i := range c.Len() {
		key, ok := o.key(c, i)
		by, again := o.known[key]
		if !ok || !again && o.full(alone, 1) {
			continue
		}
		by.seen = now
		if alone {
			by.state, by.refused, by.tried = refusedAlone, now, now
		}
		o.put(key, by)
	}
}

// full reports whether there is no room for more bad series, or for more suspects.
func (o *badSeries) full(refused bool, more int) bool {
	n := o.suspects
	if refused {
		n = len(o.known) - o.suspects
	}
	return n+more > maxBadSeries
}

func (o *badSeries) put(key uint64, by badEntry) {
	o.remove(key)
	o.known[key] = by
	if by.state == suspect {
		o.suspects++
	}
}

func (o *badSeries) remove(key uint64) {
	if by, known := o.known[key]; known && by.state == suspect {
		o.suspects--
	}
	delete(o.known, key)
}

// arrived notes that the series of a message have arrived. A series that was refused alone within badSeriesTime is
// still sent apart: if it is bad at every other scrape, it would cost a search each time.
func (o *badSeries) arrived(m wire.Message) {
	if len(o.known) == 0 {
		return
	}
	c, err := wire.Parse(m)
	if err != nil {
		return
	}
	now := o.now()
	for i := range c.Len() {
		key, ok := o.key(&c, i)
		by, is := o.known[key]
		if !ok || !is {
			continue
		}
		if by.state == suspect || now-by.refused >= badSeriesTime {
			o.remove(key)
			continue
		}
		by.state, by.tried = recovering, now
		o.put(key, by)
	}
}

// forgetUnseen forgets series that were in no message for badSeriesTime.
func (o *badSeries) forgetUnseen(now time.Duration) {
	o.swept = now
	for key, by := range o.known {
		if now-by.seen >= badSeriesTime {
			o.remove(key)
		}
	}
}

func (o *badSeries) key(c *wire.Content, i int) (key uint64, ok bool) {
	var h maphash.Hash
	h.SetSeed(o.seed)
	err := c.EachLabel(i, func(name, value []byte) {
		_, _ = h.Write(name)
		_ = h.WriteByte(0xff) // in no UTF-8 text
		_, _ = h.Write(value)
		_ = h.WriteByte(0xff)
	})
	return h.Sum64(), err == nil
}

// lookUp returns what is known of a series of a message.
func (o *badSeries) lookUp(c *wire.Content, i int, now time.Duration) (by badEntry, known bool) {
	key, ok := o.key(c, i)
	if !ok {
		return badEntry{}, false
	}
	if by, known = o.known[key]; !known {
		return badEntry{}, false
	}
	if now-by.seen >= badSeriesTime {
		o.remove(key)
		return badEntry{}, false
	}
	by.seen = now
	o.known[key] = by
	return by, true
}

// isEmpty reports whether no series is known. Once per badSeriesTime, it first forgets series that were not seen.
func (o *badSeries) isEmpty() bool {
	if len(o.known) == 0 {
		return true
	}
	if now := o.now(); now-o.swept >= badSeriesTime {
		o.forgetUnseen(now)
	}
	return len(o.known) == 0
}

// divide divides a message into the series that nobody suspects, the suspects, and the bad series. It returns nothing
// if all series can be sent together.
func (o *badSeries) divide(m wire.Message) ([]part, error) {
	if o.isEmpty() {
		return nil, nil
	}
	c, err := wire.Parse(m)
	if err != nil {
		return nil, err
	}
	type found struct {
		at    int // in c.series
		tried time.Duration
	}
	groups := make([]group, c.Len()) // by series
	var bad []found
	suspects := 0
	now := o.now()
	for i := range c.Len() {
		switch by, known := o.lookUp(&c, i, now); {
		case !known:
		case by.state == refusedAlone:
			bad = append(bad, found{i, by.tried})
			groups[i] = knownBad
		default:
			suspects++
			groups[i] = suspected
		}
	}
	if len(bad)+suspects == 0 {
		return nil, nil
	}
	slices.SortStableFunc(bad, func(a, b found) int { return cmp.Compare(a.tried, b.tried) })
	alone := bad[:min(MaxAlone, len(bad))]
	isAlone := func(i int) bool { return slices.ContainsFunc(alone, func(x found) bool { return x.at == i }) }
	var parts []part
	take := func(p part, keep func(i int) bool) {
		m, e := c.Subset(func(i int, _ int64) bool { return groups[i] == p.group && keep(i) })
		if err == nil {
			err = e
		}
		if p.Message = m; m.Samples > 0 {
			parts = append(parts, p)
		}
	}
	every := func(int) bool { return true }
	take(part{group: unsuspected}, every)
	take(part{group: suspected}, every)
	take(part{group: knownBad, together: len(bad)-len(alone) > 1}, func(i int) bool { return !isAlone(i) })
	for _, x := range alone {
		take(part{group: knownBad}, func(i int) bool { return i == x.at })
	}
	return parts, err
}
