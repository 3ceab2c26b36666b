// Package queue keeps records in order until they have been delivered, in memory or on disk. A queue has lanes;
// each lane is a FIFO of requests, and a request is one or more records that were appended one after another. What
// the bytes of a record mean is not this package's business.
//
//   - The order within a lane never changes; between lanes there is none. Lanes that Resize, or a start with another
//     number of them, made obsolete are drained before anything newer.
//   - A request is open (it may still grow), sealed, or in flight (Next gave it out, Ack has not come).
//   - A record leans on the earlier records of its request, never on another request: records leave only in whole
//     requests, or without their damaged end.
//   - Append never waits for the disk, and neither Next nor Ack for a sync. What memory holds is given out whether
//     or not it was written, so a failing disk stops nothing; and nothing is read back that memory still holds.
//   - Every sample is acknowledged, told as lost under one Reason, or kept for the next process.
//
// # On disk
//
// A Store is a directory that one process has:
//
//	lock, lock.pid                 the lock, and who has it
//	q-<identity>/                  a queue
//	  lock                                   the lock of the queue: of its process, or of who renames or removes it
//	  GGGGGGGG-NNNN-LLLL-SSSSSSSS.seg      segment S of lane L of the N lanes of generation G, all hexadecimal
//	  GGGGGGGG-NNNN-LLLL.pos               how far that lane is delivered
//	  GGGGGGGG-NNNN-LLLL-SSSSSSSS-OOOOOOOO.corrupt   damaged bytes of that segment from offset O, for people
//	  probe                                          for a moment: a test of the directory, or a segment being renewed
//
// A new file never replaces anything, and no file is opened through a symbolic link. If something has the name of a new
// segment, it stays, and the segment gets the next number. If something has the name of a position, the next start
// begins a new generation, whose names are free.
//
// A segment is records, each with a header; the first record of a segment begins a request, and no request spans
// two segments. Integers are little-endian, CRCs are CRC-32C:
//
//	offset  size
//	     0     4  "EsqR"
//	     4     1  version, 1
//	     5     1  flags: bit 0: First, begins a request
//	     6     2  kind of the data, 0: a packed fragment of remote write
//	     8     4  length of the data, at most 256 MiB
//	    12     4  CRC of the data
//	    16     8  samples of the segment before this record: a gap tells what it held
//	    24     8  oldest timestamp, Unix milliseconds
//	    32     8  newest timestamp
//	    40     4  samples
//	    44     4  CRC of the bytes 0 to 43
//	    48        the data
//
// A position file has two slots, at 0 and at 512, written in turn; the valid one with the higher counter counts:
//
//	 0     4  "EsqQ"
//	 4     4  version, 1
//	 8     4  segment
//	12     4  samples of the lane that the stop left undelivered, for the next start to find; 0: not known
//	16     8  counter
//	24     8  offset: what is before it in that segment, and all earlier segments, are delivered
//	32     4  0
//	36     4  CRC of the bytes 0 to 35
//
// Slots that begin with "EsqP" were written before slots had a version. They are still read (position.go).
//
// A header or a slot that has a valid CRC and another version, unknown flags or an unknown kind was written by another
// version of this program. The queue is then refused with a FormatError and left as it is. All versions keep the magic,
// the version and the CRC where they are.
//
// # What a crash leaves
//
// The order is: data, position, removal. All state is rebuilt from the segments; the position only spares
// repetitions, and one that is missing, damaged or does not fit delivers its lane again from its start.
//
//   - A killed process loses what it had not yet handed to the kernel, which it does at once, and repeats at most one
//     request a lane: the position is handed over before Ack returns.
//   - A power cut loses at most what was written within the sync interval, and may repeat what was delivered before.
//   - After a failed sync the kernel regards the pages as written: a second sync would succeed without writing them. So
//     the segment is written to a new file, from memory as far as possible. The new file is synced and renamed to the
//     old name. Until then positions of the lane are not synced, and a power cut may take the segment.
//   - A dropped segment whose file cannot be removed is emptied, so that it does not come again.
//   - Half a record at the end of a segment is cut off. A record with a bad CRC goes, with what leans on it; what
//     stands before it in its request stays. After a bad header the search goes on for one that begins a request.
//     Both are counted, logged and kept aside; the start never fails for them.
//
// # What cannot be read
//
// A start first reads everything and only then changes anything. A segment that cannot be opened or read stays in its
// lane, and the lane's reader tries again when its turn comes. After ten failures in a row, some three minutes, the
// lane goes on behind it: what could not be read is counted as lost, and the file is kept, under a .corrupt name.
package queue
