package scrape

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
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

// countsOf lists all numbers of waves of an interval, from 1.
func countsOf(w waves) []int {
	counts := []int{w.most()}
	for c := w.most(); c > 1; {
		c = (c + 1) / 2
		counts = append(counts, c)
	}
	slices.Reverse(counts)
	return counts
}

// TestWavesAreAsManyAsSaid: offsets fall into as many waves as there are to be, each of them waveLength long and at
// least waveInterval after the one before, and none holds more than twice its share of the targets.
func TestWavesAreAsManyAsSaid(t *testing.T) {
	for _, interval := range someIntervals() {
		w := waves{interval, 0x9e3779b97f4a7c15}
		if w.most() == 1 {
			continue
		}
		for _, count := range countsOf(w) {
			targets := someTargets(min(500*count, 100_000), interval)
			in := map[time.Duration]int{} // by the beginning of the wave
			for _, target := range targets {
				offset := (w.offset(target, count) - time.Duration(w.seed%uint64(waveInterval)) + interval) % interval
				if offset < 0 || offset%waveInterval >= waveLength {
					t.Fatalf("interval %v, %d waves: offset %v is in no wave", interval, count, offset)
				}
				in[offset.Truncate(waveInterval)]++
			}
			if len(in) != count {
				t.Errorf("interval %v: %d waves, want %d", interval, len(in), count)
			}
			for begin, n := range in {
				if share := len(targets) / count; n > 2*share+50 {
					t.Errorf("interval %v, %d waves: %d targets in that at %v, where %d are its share",
						interval, count, n, begin, share)
				}
			}
		}
	}
}

func TestNumberOfWaves(t *testing.T) {
	for _, c := range []struct {
		interval      time.Duration
		targets, want int
	}{
		{15 * time.Second, 1, 1}, {15 * time.Second, 30, 1}, {15 * time.Second, 100, 2}, {15 * time.Second, 200, 4},
		{15 * time.Second, 1000, 15}, {15 * time.Second, 9000, 15},
		{10 * time.Second, 200, 5}, {10 * time.Second, 249, 5}, {10 * time.Second, 250, 10},
		{10 * time.Second, 1000, 10},
		{5 * time.Second, 30, 2}, {5 * time.Second, 100, 5}, {2 * time.Second, 30, 2},
		{time.Minute, 200, 4}, {time.Minute, 9000, 60}, {time.Second, 1000, 1}, {1000 * 24 * time.Hour, 1000, 11},
	} {
		if got := (waves{interval: c.interval}).count(1, c.targets); got != c.want {
			t.Errorf("%d targets every %v: %d waves, want %d", c.targets, c.interval, got, c.want)
		}
	}
}

// TestNumberOfWavesHasSteps: it grows and falls with the number of targets, and falls at fewer than it grew at.
func TestNumberOfWavesHasSteps(t *testing.T) {
	const most = 4000
	for _, interval := range someIntervals() {
		w := waves{interval: interval}
		count, grew := 1, map[int]int{} // number of waves -> the number of targets at which it was reached
		for n := range most {
			if next := w.count(count, n); next < count {
				t.Fatalf("interval %v: from %d to %d waves although there are more targets", interval, count, next)
			} else if next != count {
				grew[next], count = n, next
			}
		}
		if most := w.most(); most <= 60 && count != most {
			t.Errorf("interval %v: %d waves, want %d", interval, count, most)
		}
		for n := most; n >= 0; n-- {
			next := w.count(count, n)
			if next > count {
				t.Fatalf("interval %v: from %d to %d waves although there are fewer targets", interval, count, next)
			}
			if next != count && n > grew[count]*4/5 {
				t.Errorf("interval %v: %d waves at %d targets, and %d again at %d",
					interval, count, grew[count], next, n)
			}
			count = next
		}
		if count != 1 {
			t.Errorf("interval %v: %d waves for nothing", interval, count)
		}
	}
}

// TestAStepMovesFewTargets: half of them where the number of waves doubles. None moves by more than half an interval,
// nor farther than to the wave before or behind.
func TestAStepMovesFewTargets(t *testing.T) {
	for _, interval := range someIntervals() {
		w := waves{interval, 77}
		targets := someTargets(2000, interval)
		counts := countsOf(w)
		for i, next := range counts[1:] {
			count, moved := counts[i], 0
			farthest := min(interval/2, interval/time.Duration(count)+waveInterval)
			for _, target := range targets {
				by := nearest(w.offset(target, next)-w.offset(target, count), interval)
				if by != 0 {
					moved++
				}
				if by.Abs() > farthest {
					t.Fatalf("interval %v, %d to %d waves: a target moves by %v", interval, count, next, by)
				}
			}
			if half := len(targets) / 2; next == 2*count && moved > half+half/5 {
				t.Errorf("interval %v, %d to %d waves: %d of %d targets move, want half of them",
					interval, count, next, moved, len(targets))
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
		sizes := []int{5, 60, 200, 90, 30, 110, 155, 12, 200, 3}
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
		if got := r.waveCount(interval); got != 1 {
			t.Errorf("%d waves for 3 targets", got)
		}
		r.apply(t)
		if len(r.waves) != 0 {
			t.Errorf("waves without a job: %v", r.waves)
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

// waveCount returns in how many waves targets with an interval are scraped.
func (r *rig) waveCount(interval time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waves.of(interval)
}

// TestWavesFollowTheSizesOfPages: few targets with large pages have several waves.
func TestWavesFollowTheSizesOfPages(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		var page strings.Builder
		for i := range 20_000 {
			fmt.Fprintf(&page, "x{n=\"%d\"} 1\n", i)
		}
		var found []model.LabelSet
		for i := range 10 {
			address := fmt.Sprintf("t%d:1", i)
			r.pages.set(address, page.String())
			found = append(found, at(address))
		}
		r.apply(t, job(t, ""))
		r.discover(found...)
		pass(time.Second)
		if got := r.waveCount(10 * time.Second); got != 1 {
			t.Errorf("%d waves before a page was read, want 1", got)
		}
		pass(time.Minute)
		if got := r.waveCount(10 * time.Second); got != 3 { // as for 80 targets
			t.Errorf("%d waves for 200,000 samples, want 3", got)
		}
	})
}
