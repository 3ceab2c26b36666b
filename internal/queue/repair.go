package queue

import "go.uber.org/zap"

// repaired is the result of a scan and the repair of the damage that it found.
type repaired struct {
	scanResult
	end       int64           // of the segment, without what was cut off
	skips     map[int64]int64 // damage: from, to
	rest      span            // could not be read, and was given up
	err       error           // the error of reading rest
	loss      Loss
	corrupt   int
	skipped   int64
	truncated int64
}

func (s *repaired) count(to *Stats) {
	to.CorruptRecords += s.corrupt
	to.SkippedBytes += s.skipped
	to.TruncatedBytes += s.truncated
}

// scan scans a part of a segment that could not be read before, and repairs it. done is delivered. If last is true, an
// error only ends the scan: what is before it is used, and the rest is given up.
func (c *quarantine) scan(
	log *zap.Logger, f File, segment string, at span, done extents, last bool,
) (*repaired, error) {
	found, err := scan(f, at.from, at.to, done)
	if err != nil && !last {
		return nil, err
	}
	s, failed := c.repair(log, segment, at.to, found)
	if failed == nil && err != nil {
		s.rest, s.err = span{found.to, at.to}, err
	}
	return s, failed
}

// repair cuts off the torn end of a segment and copies other damage aside. Damage that an earlier process copied aside
// is not counted again.
func (c *quarantine) repair(log *zap.Logger, segment string, size int64, found scanResult) (*repaired, error) {
	s := &repaired{scanResult: found, end: size}
	if len(found.damage) == 0 {
		return s, nil
	}
	f, err := c.fs.Open(join(c.dir, segment), false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, p := range found.damage {
		if p.torn {
			s.loss.add(0, p.lost)
			if p.first {
				s.loss.add(1, 0)
			}
			s.truncated += p.to - p.from
			s.end = p.from
			log.Warn("end of segment cut off", zap.String("segment", segment), zap.Int64("offset", p.from),
				zap.Int64("bytes", p.to-p.from))
			if err := f.Truncate(p.from); err != nil {
				log.Warn("truncate segment", zap.String("segment", segment), zap.Error(err))
			}
			continue
		}
		if !c.has(segment, p.span) {
			s.loss.add(0, p.lost)
			s.corrupt++
			s.skipped += p.to - p.from
			c.keep(log, segment, f, p.span)
		}
		if s.skips == nil {
			s.skips = map[int64]int64{}
		}
		s.skips[p.from] = p.to
	}
	return s, nil
}
