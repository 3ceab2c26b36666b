package remotewrite

import (
	"hash/maphash"
	"time"
)

const (
	offenceTime  = 10 * time.Minute
	maxOffenders = 2048 // of a lane: as many series as a request has by default
	maxAlone     = 32   // more offenders of one message travel together
)

// offenders are the series of one lane that a 1.0 receiver refused of late, and those that were not told from them
// in time. They travel apart, so that a persistent offender costs one more request and not a search. The zero value
// is empty. Owned by the lane's sender.
type offenders struct {
	seed  maphash.Seed
	known map[uint64]offence // by labels
}

type offence struct {
	until time.Time
	found bool // refused alone; else only under suspicion
}

// add remembers all series of a message.
func (o *offenders) add(c *content, found bool) {
	now := time.Now()
	if o.known == nil {
		o.seed, o.known = maphash.MakeSeed(), map[uint64]offence{}
	}
	if len(o.known)+len(c.series) > maxOffenders {
		o.expire(now)
	}
	for i := range c.series {
		key, ok := o.key(c, i)
		before, again := o.known[key]
		if ok && (again || len(o.known) < maxOffenders) {
			o.known[key] = offence{until: now.Add(offenceTime), found: found || before.found}
		}
	}
}

// clear takes the series of a message that has arrived off the suspicion. Those that were refused alone stay: who
// offends at every other scrape would else cost a search each time.
func (o *offenders) clear(m message) {
	if len(o.known) == 0 {
		return
	}
	c, err := parseMessage(m)
	if err != nil {
		return
	}
	for i := range c.series {
		if key, ok := o.key(&c, i); ok && !o.known[key].found {
			delete(o.known, key)
		}
	}
}

func (o *offenders) expire(now time.Time) {
	for key, by := range o.known {
		if !now.Before(by.until) {
			delete(o.known, key)
		}
	}
}

func (o *offenders) key(c *content, i int) (key uint64, ok bool) {
	var h maphash.Hash
	h.SetSeed(o.seed)
	err := c.eachLabel(i, func(name, value []byte) {
		_, _ = h.Write(name)
		_ = h.WriteByte(0xff) // in no UTF-8 text
		_, _ = h.Write(value)
		_ = h.WriteByte(0xff)
	})
	return h.Sum64(), err == nil
}

// apart divides a message into what nobody suspects and, behind it, the offenders. None: all of it may travel whole.
func (o *offenders) apart(m message) ([]part, error) {
	if len(o.known) == 0 {
		return nil, nil
	}
	o.expire(time.Now())
	c, err := parseMessage(m)
	if err != nil {
		return nil, err
	}
	group := make([]byte, len(c.series)) // 0: good, 1: under suspicion, 2: found
	var sizes [3]int
	for i := range c.series {
		if key, ok := o.key(&c, i); ok {
			if by, is := o.known[key]; is && by.found {
				group[i] = 2
			} else if is {
				group[i] = 1
			}
		}
		sizes[group[i]]++
	}
	if sizes[0] == len(c.series) {
		return nil, nil
	}
	var parts []part
	for g := range byte(3) {
		if sizes[g] == 0 {
			continue
		}
		m, err := c.subset(func(i int, _ int64) bool { return group[i] == g })
		if err != nil {
			return nil, err
		}
		ms := []message{m}
		if g == 2 && sizes[g] <= maxAlone {
			if ms, err = singles(m); err != nil {
				return nil, err
			}
		}
		for _, m := range ms {
			p := part{message: m}
			if g > 0 {
				p.stand = offender
			}
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// singles makes a message of each series of one.
func singles(m message) ([]message, error) {
	c, err := parseMessage(m)
	if err != nil {
		return nil, err
	}
	return c.split(len(c.series))
}
