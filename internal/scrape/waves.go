package scrape

import "time"

// Scrapes come in waves: the targets of an interval are due close together. A process that wakes for each scrape alone
// finds its caches cold and its processor asleep. Waves are at least waveInterval apart, and the due times of a wave
// are spread over waveLength. Where there is less to scrape there are fewer waves: see waves.count. Example: 30 targets
// with an interval of 15 s have one wave, and one of them has its due times at 3.021 s, 18.021 s, 33.021 s. 1,000
// targets have 15 waves.
const (
	waveInterval = time.Second
	waveLength   = 50 * time.Millisecond

	// How many targets each wave has at least, if there are several: 25 with an interval of 10 s, 50 from 20 s on. It
	// has up to twice as many while there are fewer than most waves. At least two scrapes begin in slowScrape, so those
	// of 50 targets that answer slowly begin within 125 ms, about the lateness that timestamps tolerate, see
	// toleranceShare.
	leastShare   = 400 * time.Millisecond // of the interval, for each target
	maxLeast     = 50
	pageOfTarget = 2_500 // samples: a larger page counts as one target for each 2,500 begun
)

// waves says how the due times of one interval are spread over it. It is immutable.
type waves struct {
	interval time.Duration
	seed     uint64 // differs between replicas of this process: it gives a target another wave, and shifts all waves
}

// most returns into how many waves the interval can be divided. 1: it is so short that due times are spread evenly.
func (w waves) most() int { return max(1, int(w.interval/waveInterval)) }

// count returns the number of waves for a number of targets. before is the present number. With an interval of 15 s
// that is 15, 8, 4, 2 or 1. A wave that is there may be a quarter smaller than a new one, so that a pod more or less
// does not move others.
func (w waves) count(before, targets int) int {
	least := int(min(maxLeast, w.interval/leastShare))
	count := w.most()
	for count > 1 && (targets < least*3/4*count || count > before && targets < least*count) {
		count = (count + 1) / 2
	}
	return count
}

// offset returns where in the interval a target is due if there are count waves: how long after a multiple of the
// interval, by the clock. It is stable over restarts, and does not depend on other targets except through count.
func (w waves) offset(t *target, count int) time.Duration {
	h, most := t.hash^w.seed, uint64(w.most())
	shift := w.seed % uint64(most*uint64(waveInterval))
	if t.shardKey != 0 { // the same in other instances, which have other targets, and may run another build
		h, count, shift = t.shardKey^w.seed, int(most), w.seed%uint64(waveInterval)
	}
	if most == 1 {
		return time.Duration(h % uint64(w.interval))
	}
	group := h % most * uint64(count) / most
	first := (group*most + uint64(count) - 1) / uint64(count) // of the group's members: h%most of the wave
	return time.Duration((first*uint64(waveInterval) + h/most%uint64(waveLength) + shift) % uint64(w.interval))
}

// untilOffset returns how long it is from now until the clock is at an offset of the interval, and more than 0.
func (w waves) untilOffset(offset time.Duration, now time.Time) time.Duration {
	wait := offset - time.Duration(now.UnixNano()%int64(w.interval))
	if wait <= 0 {
		wait += w.interval
	}
	return wait
}

// waveCounts says in how many waves the targets of each interval are scraped, those of all jobs together.
type waveCounts map[time.Duration]int

func (c waveCounts) of(interval time.Duration) int { return max(c[interval], 1) }

// recountWaves is how often waves are adapted to the sizes of pages. Changes of targets are noticed at once.
const recountWaves = 30 * time.Second

// adaptWaves changes in how many waves targets are scraped, as their number and the sizes of their pages demand. fresh
// are targets of starting that get a loop next. A target that comes into another wave has its next due time half an
// interval to one and a half after the one before, see life.finish. The caller holds changing.
func (ps *Pools) adaptWaves(starting *pool, fresh []*target) {
	ps.mu.Lock()
	before := ps.waves
	ps.waves = ps.countWaves(starting, fresh)
	moved := ps.loopsWithout(before)
	ps.mu.Unlock()
	ps.inChunks(len(moved), func(i int) {
		t := moved[i].target
		w := waves{t.interval, ps.seed}
		if by := w.offset(t, ps.waves.of(t.interval)) - w.offset(t, before.of(t.interval)); by != 0 {
			ps.schedule.send(moved[i], event{kind: eventShift, shift: by})
		}
	})
}

// countWaves returns in how many waves targets are to be scraped. The caller holds mu.
func (ps *Pools) countWaves(starting *pool, fresh []*target) waveCounts {
	counts := waveCounts{}
	for _, p := range ps.jobs {
		for _, l := range p.loops {
			counts[l.target.interval] += l.countForWaves()
		}
	}
	for _, t := range fresh {
		if starting.loops[t.hash] == nil {
			counts[t.interval]++
		}
	}
	for interval, targets := range counts {
		counts[interval] = waves{interval: interval}.count(ps.waves.of(interval), targets)
	}
	return counts
}

// loopsWithout returns the loops of intervals that have another number of waves than before. The caller holds mu.
func (ps *Pools) loopsWithout(before waveCounts) (moved []*loop) {
	same := true
	for interval, count := range ps.waves {
		same = same && count == before.of(interval)
	}
	if same {
		return nil
	}
	for _, p := range ps.jobs {
		for _, l := range p.loops {
			if interval := l.target.interval; ps.waves.of(interval) != before.of(interval) {
				moved = append(moved, l)
			}
		}
	}
	return moved
}

// countForWaves returns as how many targets the loop counts: one, unless its page is large.
func (l *loop) countForWaves() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(1, (int(l.status.wholeSamples)+pageOfTarget-1)/pageOfTarget)
}
