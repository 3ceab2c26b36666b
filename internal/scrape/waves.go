package scrape

import "time"

// Scrapes come in waves: the targets of an interval are due close together. A process that wakes for each scrape alone
// finds its caches cold and its processor asleep. A wave begins at most every waveInterval, and the due times of its
// targets are spread over waveLength. Where few targets are scraped, waves are further apart: there are as many as keep
// targetsPerWave in each. Example: 30 targets with an interval of 15 s have two waves, and a target has its due times
// at 3.021 s, 18.021 s, 33.021 s. 300 targets have 15 waves.
const (
	waveInterval = time.Second
	waveLength   = 50 * time.Millisecond

	targetsPerWave    = 15 // more waves begin when each has as many
	minTargetsPerWave = 10 // fewer waves begin when each has less: a pod more or less moves no target
)

// waves says how the due times of one interval are spread over it. It is immutable.
type waves struct {
	interval time.Duration
	seed     uint64 // differs between replicas of this process: it gives a target another wave, and shifts all waves
}

// most returns into how many waves the interval can be divided. 1: it is so short that due times are spread evenly.
func (w waves) most() int { return max(1, int(w.interval/waveInterval)) }

// next returns the number of waves that follows on count, if there are more: the double, up to most.
func (w waves) next(count int) int {
	if most := w.most(); 3*count > most {
		return most
	}
	return 2 * count
}

// count returns how many waves a number of targets needs, where there were before waves. From count to next(count) the
// targets of count waves stay where they are.
func (w waves) count(before, targets int) int {
	count := 1
	for count < w.most() {
		next, least := w.next(count), targetsPerWave
		if next <= before {
			least = minTargetsPerWave
		}
		if targets < least*next {
			break
		}
		count = next
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

// waveCount is in how many waves the targets of an interval are scraped, over all jobs.
type waveCount struct {
	targets int // of all jobs
	count   int // of waves
}

// waveCounts are the counts of all intervals that this instance has targets of.
type waveCounts map[time.Duration]waveCount

// add counts a target, or, with by -1, one less.
func (c waveCounts) add(t *target, by int) {
	w := c[t.interval]
	if w.targets += by; w.targets == 0 {
		delete(c, t.interval)
		return
	}
	w.count = max(w.count, 1)
	c[t.interval] = w
}

// of returns in how many waves the targets of an interval are scraped.
func (c waveCounts) of(interval time.Duration) int { return max(c[interval].count, 1) }

// adaptWaves changes in how many waves targets are scraped, as their number demands. A target that comes into another
// wave has its next due time half an interval to one and a half after the one before, see life.finish. The caller holds
// changing.
func (ps *Pools) adaptWaves() {
	var moved []*loop
	before := map[time.Duration]int{}
	ps.mu.Lock()
	for interval, c := range ps.waves {
		if count := (waves{interval: interval}).count(c.count, c.targets); count != c.count {
			before[interval] = c.count
			ps.waves[interval] = waveCount{c.targets, count}
		}
	}
	for _, p := range ps.jobs {
		if len(before) == 0 {
			break
		}
		for _, l := range p.loops {
			if before[l.target.interval] > 0 {
				moved = append(moved, l)
			}
		}
	}
	ps.mu.Unlock()
	ps.inChunks(len(moved), func(i int) {
		l, interval := moved[i], moved[i].target.interval
		w := waves{interval, ps.seed}
		if by := w.offset(l.target, ps.waves.of(interval)) - w.offset(l.target, before[interval]); by != 0 {
			ps.schedule.send(l, event{kind: eventShift, shift: by})
		}
	})
}
