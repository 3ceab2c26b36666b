package scrape

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// someTargets returns n targets with an interval.
func someTargets(n int, interval time.Duration) (all []*target) {
	random := rand.New(rand.NewPCG(3, uint64(n)))
	for range n {
		all = append(all, &target{hash: random.Uint64(), interval: interval})
	}
	return all
}

func someIntervals() []time.Duration {
	return []time.Duration{100 * time.Millisecond, time.Second, 2 * time.Second, 2500 * time.Millisecond,
		5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, time.Hour}
}

func TestRow49OffsetsAreStableAndSpread(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	w := waves{10 * time.Second, 42}
	seen := map[time.Duration]bool{}
	for _, target := range someTargets(100, w.interval) {
		offset := w.offset(target, w.most())
		d := w.untilOffset(offset, now)
		if d <= 0 || d > w.interval {
			t.Fatalf("due after %v", d)
		}
		if later := w.untilOffset(offset, now.Add(3*time.Second)); (d-later-3*time.Second)%w.interval != 0 {
			t.Errorf("due time moved: after %v, three seconds later after %v", d, later)
		}
		seen[d.Truncate(time.Second)] = true
	}
	if len(seen) < 8 {
		t.Errorf("offsets fall into %d of 10 seconds", len(seen))
	}
}

// TestWavesAreAsManyAsSaid: offsets fall into as many waves as there are to be, each of them waveLength long and at
// least waveInterval after the one before, and none holds more than its share of the targets.
func TestWavesAreAsManyAsSaid(t *testing.T) {
	for _, interval := range someIntervals() {
		w := waves{interval, 0x9e3779b97f4a7c15}
		for count := 1; w.most() > 1; count = w.next(count) {
			targets := someTargets(200*count, interval)
			if interval == time.Hour {
				targets = targets[:min(len(targets), 20_000)]
			}
			in := map[time.Duration]int{} // by the beginning of the wave
			for _, target := range targets {
				offset := (w.offset(target, count) - time.Duration(w.seed%uint64(waveInterval)) + interval) % interval
				if offset < 0 || offset%waveInterval >= waveLength {
					t.Fatalf("interval %v, %d waves: offset %v is in no wave", interval, count, offset)
				}
				in[offset.Truncate(waveInterval)]++
			}
			if len(in) != count && len(targets) == 200*count {
				t.Errorf("interval %v: %d waves, want %d", interval, len(in), count)
			}
			for begin, n := range in {
				if n > 4*len(targets)/count+100 {
					t.Errorf("interval %v, %d waves: %d of %d targets in that at %v",
						interval, count, n, len(targets), begin)
				}
			}
			if count == w.most() {
				break
			}
		}
	}
}

// TestNumberOfWaves: where there are enough targets each wave has at least minTargetsPerWave, and the number
// follows on growing and falling numbers of targets in few steps, at different numbers.
func TestNumberOfWaves(t *testing.T) {
	for _, c := range []struct {
		interval      time.Duration
		targets, want int
	}{
		{15 * time.Second, 1, 1}, {15 * time.Second, 29, 1}, {15 * time.Second, 30, 2}, {15 * time.Second, 60, 4},
		{15 * time.Second, 120, 8}, {15 * time.Second, 225, 15}, {15 * time.Second, 100_000, 15},
		{10 * time.Second, 200, 10}, {10 * time.Second, 149, 4}, {time.Second, 1000, 1}, {2 * time.Second, 1000, 2},
		{time.Minute, 9000, 60},
	} {
		if got := (waves{interval: c.interval}).count(1, c.targets); got != c.want {
			t.Errorf("%d targets every %v: %d waves, want %d", c.targets, c.interval, got, c.want)
		}
	}
	for _, interval := range someIntervals() {
		w := waves{interval: interval}
		count, up, down := 1, map[int]int{}, map[int]int{} // by the number before: targets at a step
		for n := range 3000 {
			if next := w.count(count, n); next != count {
				up[count], count = n, next
			}
		}
		if w.most() <= 60 && count != w.most() {
			t.Errorf("interval %v: %d waves for 3000 targets, want %d", interval, count, w.most())
		}
		for n := 3000; n >= 0; n-- {
			if next := w.count(count, n); next != count {
				down[next], count = n, next
			}
		}
		if count != 1 || len(up) != len(down) {
			t.Errorf("interval %v: %d waves for no target, steps up at %v, down at %v", interval, count, up, down)
		}
		for before, n := range up {
			if n-down[before] < n/4 {
				t.Errorf("interval %v: a step from %d waves at %d targets, and back at %d",
					interval, before, n, down[before])
			}
		}
	}
}

// TestAStepMovesFewTargets: half of them move when the number of waves doubles, and to a place that is nearer than half
// an interval. A number of waves that follows on another one moves as few as it can.
func TestAStepMovesFewTargets(t *testing.T) {
	for _, interval := range someIntervals() {
		w := waves{interval, 77}
		targets := someTargets(2000, interval)
		for count := 1; count < w.most(); count = w.next(count) {
			next, moved := w.next(count), 0
			for _, target := range targets {
				by := nearest(w.offset(target, next)-w.offset(target, count), interval)
				if by != 0 {
					moved++
				}
				if by < -interval/2 || by > interval/2 {
					t.Fatalf("interval %v, %d to %d waves: a target moves by %v", interval, count, next, by)
				}
			}
			least := len(targets) * (next - count) / next
			if moved > least+len(targets)/6+50 {
				t.Errorf("interval %v, %d to %d waves: %d of %d targets move, the least is %d",
					interval, count, next, moved, len(targets), least)
			}
		}
	}
}

// TestSharedTargetsHaveOnePlace: instances that share targets have different numbers of them.
func TestSharedTargetsHaveOnePlace(t *testing.T) {
	w := waves{10 * time.Second, 5}
	seen := map[time.Duration]bool{}
	for i := range 10 {
		a := &target{hash: uint64(i), shardKey: 12345, interval: w.interval}
		seen[w.offset(a, i+1)] = true
	}
	if len(seen) != 1 {
		t.Errorf("a shared target has %d places", len(seen))
	}
	h := uint64(12345) ^ w.seed // as all releases with shards
	want := time.Duration(h%10*uint64(waveInterval) + h/10%uint64(waveLength) + w.seed%uint64(waveInterval))
	if !seen[want] {
		t.Errorf("a shared target is not due at %v, but at %v", want, seen)
	}
}

// TestTargetsMoveToNewWaves: targets come and go, over many steps. No target is scraped twice within half an interval,
// or not within one and a half, and all of them have the timestamps of their due times.
func TestTargetsMoveToNewWaves(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.apply(t, job(t, ""))
		const interval = 10 * time.Second
		everyone := crowd(r)
		sizes := []int{5, 40, 200, 60, 30, 140, 155, 12, 200, 3}
		for _, n := range sizes {
			r.discover(everyone[:n]...)
			pass(57 * time.Second)
		}
		times := map[string][]time.Time{}
		gone := map[string]bool{}
		shifted := 0
		for _, g := range r.sink.got {
			for host := range everyone {
				name := fmt.Sprintf(`{__name__="up", instance="t%d:1", job="envoy"}`, host)
				value, ok := g.samples[name]
				if !ok {
					continue
				}
				before := times[name]
				if last := len(before) - 1; last >= 0 && !gone[name] && value != "stale" {
					switch pause := g.at.Sub(before[last]); {
					case pause < interval/2 || pause > interval*3/2:
						t.Errorf("%s: %v between two scrapes", name, pause)
					case pause != interval:
						shifted++
					}
				}
				gone[name] = value == "stale"
				times[name] = append(before, g.at)
			}
		}
		if shifted == 0 {
			t.Error("no target moved")
		}
		if ps := r.Pools; len(ps.waves) != 1 || ps.waves[interval].targets != 3 || ps.waves.of(interval) != 1 {
			t.Errorf("counts at the end: %v", ps.waves)
		}
		r.apply(t)
		if len(r.waves) != 0 {
			t.Errorf("counts without a job: %v", r.waves)
		}
	})
}

// TestWavesDoNotDependOnTheOrderOfDiscovery: a process that finds its targets one by one, in any order, ends up with
// the due times of one that finds them at once.
func TestWavesDoNotDependOnTheOrderOfDiscovery(t *testing.T) {
	ends := func(order func(n int) []int, oneByOne bool) (due map[string]time.Duration) {
		due = map[string]time.Duration{}
		during(t, func(t *testing.T, r *rig) {
			r.apply(t, job(t, ""))
			everyone := crowd(r)[:70]
			found := everyone[:0:0]
			for _, i := range order(len(everyone)) {
				if found = append(found, everyone[i]); oneByOne {
					r.discover(found...)
					pass(200 * time.Millisecond)
				}
			}
			r.discover(found...)
			pass(60 * time.Second)
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, l := range r.jobs["envoy"].loops {
				due[l.target.url] = time.Duration(l.life.due.UnixNano() % int64(l.target.interval))
			}
		})
		return due
	}
	inOrder := func(n int) (all []int) {
		for i := range n {
			all = append(all, i)
		}
		return all
	}
	backwards := func(n int) []int {
		all := inOrder(n)
		slices.Reverse(all)
		return all
	}
	want := ends(inOrder, false)
	for name, got := range map[string]map[string]time.Duration{
		"one by one": ends(inOrder, true), "backwards": ends(backwards, true),
	} {
		if len(got) != len(want) {
			t.Errorf("%s: %d targets, want %d", name, len(got), len(want))
		}
		for url, at := range got {
			if at != want[url] {
				t.Errorf("%s: %s is due at %v, want %v", name, url, at, want[url])
			}
		}
	}
}
