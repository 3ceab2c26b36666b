package queue

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// openFIFO rebuilds a queue and starts its goroutines.
func openFIFO(fs FS, dir string, lanes int, cfg Config, onClose func()) (*FIFO, error) {
	q := newFIFO(cfg, cfg.MaxMemory)
	r := &recovery{fs: fs, dir: dir, log: q.log}
	if _, err := makeDir(fs, dir); err != nil { // the store syncs the name
		return nil, err
	}
	if err := r.run(); err != nil {
		return nil, err
	}
	if err := checkWritable(fs, dir); err != nil {
		return nil, err
	}
	r.repair()
	q.stats, q.gens = r.stats, r.gens
	q.disk = &disk{
		fs: fs, dir: dir, closing: make(chan struct{}), onClose: onClose, bytes: r.bytes,
		writer: make(signal, 1), syncer: make(signal, 1), newName: true, health: health{log: q.log},
		clock:   newAgeClock(time.Now),
		corrupt: r.corrupt,
	}
	q.disk.segBytes, q.disk.maxSegBytes = cfg.segmentBytes()
	for _, s := range r.delivered {
		q.disk.scheduleRemoval(s.lane, s.segment)
	}
	q.mu.Lock()
	for l := range q.lanes {
		if l.end.compare(l.acked) < 0 {
			l.end = l.acked
		}
		q.advance(l)
	}
	for l := range q.lanes {
		for _, s := range l.segments { // a process that was killed may have written to them without a sync
			s.dirty = true
			q.disk.syncer.wakeUp()
		}
	}
	q.newLanes(lanes, r.ended)
	q.endGenerations()
	q.lose(Damaged, r.loss.Requests, r.loss.Samples)
	q.unlock()
	if s := q.Stats(); s.Requests > 0 || s.SkippedBytes > 0 || s.TruncatedBytes > 0 {
		q.log.Info("backlog found", zap.Int("requests", s.Requests), zap.Int("samples", s.Samples),
			zap.Int64("bytes", s.Bytes), zap.Int64("skipped_bytes", s.SkippedBytes),
			zap.Int64("truncated_bytes", s.TruncatedBytes))
	}
	q.disk.loops.Go(q.writeLoop)
	q.disk.loops.Go(q.syncLoop)
	return q, nil
}

// newLanes makes the lanes that records are appended to. The newest generation is continued if it has that number of
// lanes, has not ended and has no backlog. With a backlog it is not, since the next process would find requests of two
// processes in one lane, and they may have divided their series otherwise into streams. The caller holds mu.
func (q *FIFO) newLanes(lanes int, ended map[uint32]bool) {
	number := uint32(1)
	if len(q.gens) > 0 {
		last := q.newest()
		name := last.lanes[0].name
		number = name.generation + 1
		if !ended[name.generation] && name.lanes == lanes && !slices.ContainsFunc(last.lanes, hasBacklog) {
			whole := newGeneration(q.disk.dir, name.generation, lanes)
			for _, l := range last.lanes {
				whole.lanes[l.name.lane] = l
			}
			q.gens[len(q.gens)-1] = whole
			return
		}
	}
	q.gens = append(q.gens, newGeneration(q.disk.dir, number, lanes))
}

func hasBacklog(l *lane) bool { return !l.empty() }

// scratchName is a file that exists for a moment only. After a crash the next start removes it.
const scratchName = "probe"

// checkWritable fails a start if nothing can be written in the directory. A full disk fails no start: requests stay in
// memory, as with a disk that fills later.
func checkWritable(fs FS, dir string) error {
	name := join(dir, scratchName)
	f, err := createAgain(fs, name)
	if err != nil {
		return ignoreFull(fmt.Errorf("queue directory cannot be written: %w", err))
	}
	return errors.Join(f.Close(), fs.Remove(name))
}

func ignoreFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	return err
}
