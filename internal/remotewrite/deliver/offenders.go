package deliver

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

const (
	offenceTime  = 10 * time.Minute
	maxOffenders = 2048 // of a lane, and as many suspects: as many series as a request has by default
	MaxAlone     = 2    // offenders of one message that are sent alone; the others are sent together
)

// offenders are the series of one lane that a 1.0 receiver refused lately, and those that a search did not tell from
// them in time. They travel apart: a message costs at most one request for what nobody suspects, one for suspects,
// maxAlone for single offenders and one for all other offenders. The zero value is empty. Owned by the lane's sender.
type offenders struct {
	seed     maphash.Seed
	began    time.Time
	known    map[uint64]offence // by labels
	suspects int                // of known
}

// offence is what is known of a series. Times are since offenders.began.
type offence struct {
	standing standing
	refused  time.Duration // alone, the last time; means nothing of a suspect
	tried    time.Duration // alone, the last time, whatever the answer
	seen     time.Duration // in a message, the last time
}

type standing byte

const (
	suspect      standing = iota // was not told apart; forgotten when it arrives
	refusedAlone                 // the last time that it was sent alone
	recovering                   // arrived since it was refused; forgotten when it arrives offenceTime after that
)

func (o *offenders) now() time.Duration { return time.Since(o.began) }

// add remembers all series of a message: refused alone, or not told apart.
func (o *offenders) add(c *wire.Content, alone bool) {
	if o.known == nil {
		o.seed, o.began, o.known = maphash.MakeSeed(), time.Now(), map[uint64]offence{}
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
			by.standing, by.refused, by.tried = refusedAlone, now, now
		}
		o.put(key, by)
	}
}

// full reports whether there is no room for more offenders, or suspects.
func (o *offenders) full(offenders bool, more int) bool {
	n := o.suspects
	if offenders {
		n = len(o.known) - o.suspects
	}
	return n+more > maxOffenders
}

func (o *offenders) put(key uint64, by offence) {
	o.remove(key)
	o.known[key] = by
	if by.standing == suspect {
		o.suspects++
	}
}

func (o *offenders) remove(key uint64) {
	if by, known := o.known[key]; known && by.standing == suspect {
		o.suspects--
	}
	delete(o.known, key)
}

// clear notes that the series of a message have arrived. A series that was refused alone within offenceTime stays
// apart: one that offends at every other scrape would otherwise cost a search each time.
func (o *offenders) clear(m wire.Message) {
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
		if by.standing == suspect || now-by.refused >= offenceTime {
			o.remove(key)
			continue
		}
		by.standing, by.tried = recovering, now
		o.put(key, by)
	}
}

// forgetUnseen forgets series that no message has had for offenceTime.
func (o *offenders) forgetUnseen(now time.Duration) {
	for key, by := range o.known {
		if now-by.seen >= offenceTime {
			o.remove(key)
		}
	}
}

func (o *offenders) key(c *wire.Content, i int) (key uint64, ok bool) {
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

// look returns what is known of a series that a message has now.
func (o *offenders) look(c *wire.Content, i int, now time.Duration) (by offence, known bool) {
	key, ok := o.key(c, i)
	if !ok {
		return offence{}, false
	}
	if by, known = o.known[key]; !known {
		return offence{}, false
	}
	if now-by.seen >= offenceTime {
		o.remove(key)
		return offence{}, false
	}
	by.seen = now
	o.known[key] = by
	return by, true
}

// apart divides a message into the series that nobody suspects, the suspects, and the offenders. None: all of it may
// travel together.
func (o *offenders) apart(m wire.Message) ([]part, error) {
	if len(o.known) == 0 {
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
		switch by, known := o.look(&c, i, now); {
		case !known:
		case by.standing == refusedAlone:
			bad = append(bad, found{i, by.tried})
			groups[i] = offending
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
	take := func(g group, keep func(i int) bool) {
		m, e := c.Subset(func(i int, _ int64) bool { return groups[i] == g && keep(i) })
		if err == nil {
			err = e
		}
		if m.Samples > 0 {
			parts = append(parts, part{Message: m, group: g})
		}
	}
	every := func(int) bool { return true }
	take(unsuspected, every)
	take(suspected, every)
	take(offending, func(i int) bool { return !isAlone(i) })
	for _, x := range alone {
		take(offending, func(i int) bool { return i == x.at })
	}
	return parts, err
}
