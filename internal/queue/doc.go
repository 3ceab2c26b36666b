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
//
// A segment is records, each with a header; the first record of a segment begins a request, and no request spans
// two segments. Integers are little-endian, CRCs are CRC-32C:
//
//	offset  size
//	     0     4  "EsqR"
//	     4     1  version, 1
//	     5     1  flags: bit 0: First, begins a request
//	     6     2  0
//	     8     4  length of the data
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
//	 0     4  "EsqP"
//	 4     4  segment
//	 8     8  counter
//	16     8  offset: what is before it in that segment, and all earlier segments, are delivered
//	24     4  samples of the lane that the stop left undelivered, for the next start to find; 0: not known
//	28     4  CRC of the bytes 0 to 27
//
// # What a crash leaves
//
// The order is: data, position, removal. All state is rebuilt from the segments; the position only spares
// repetitions, and one that is missing, damaged or does not fit delivers its lane again from its start.
//
//   - A killed process loses what it had not yet handed to the kernel, which it does at once, and repeats at most one
//     request a lane: the position is handed over before Ack returns.
//   - A power cut loses at most what was written within the sync interval, and may repeat what was delivered before.
//   - Half a record at the end of a segment is cut off. A record with a bad CRC goes, with what leans on it; what
//     stands before it in its request stays. After a bad header the search goes on for one that begins a request.
//     Both are counted, logged and kept aside; the start never fails for them.
package queue
