// Package queue keeps records in order until they are delivered, in memory or on disk. It does not interpret the bytes
// of a record.
//
// A queue has lanes. A lane is a list of requests, and a request is one or more records that were appended one after
// another. A request is open (it may still grow), sealed, or in flight (Next returned it, Ack has not come). It belongs
// to a stream, and may wait for later requests of its stream until it is due. Next returns the oldest requests of one
// or more streams that are due, as a group.
//
// For example, a lane has the requests 7a 9a 7b 9b of the streams 7 and 9, and 7b is due. The first group is 7a 7b,
// since a stream is due when one of its requests is. Then 9a 9b wait until one of them is due.
//
// A record may have a layout: bytes that many records have in common. For example, the layout is the series of a page,
// and each record has the values of one scrape. Such records are alone in their requests.
//
// # The way of a record
//
//  1. Append adds the record to the open request of a lane, in memory (fifo.go, lane.go, request.go). Seal ends the
//     request, and adds it to its stream (streams.go).
//  2. The writer copies a batch of records into the lane's active segment, a file (writer.go, record.go), and a layout
//     where the segment needs a copy of it (layout.go).
//  3. The syncer syncs segments, then positions, within Config.FsyncInterval (sync.go). A segment whose sync failed
//     is written to a new file (renew.go).
//  4. The data of requests that are on disk leaves memory, at once if they are not due soon, else when memory is full.
//     When there are very many requests, their headers leave it, too: they are cold, and all in the lane are due. When
//     the disk is full or samples are too old, the oldest segments are dropped (limits.go).
//  5. Next makes a group (group.go): the headers of cold requests are read ahead, a window of some thousand, and the
//     data of the group is read back as far as memory does not have it (read_back.go, scan.go), each layout once.
//  6. Ack removes the group, and the lane's position notes it (disk.go, position.go, extents.go).
//  7. A segment of which everything is delivered or dropped is removed (remove.go).
//  8. Close writes and syncs the rest, and returns what only memory had (close.go).
//  9. The next start rebuilds the lanes from the directory (store.go, open.go, recover.go). Damage is cut off or
//     skipped, and damaged bytes are copied to .corrupt files (scan.go, repair.go, quarantine.go).
//
// In layers, from the top: the store (store.go, queue_lock.go, renamable_fs.go); open.go; the methods of FIFO (steps 1
// to 8), which call each other; recover.go; the state (lane.go, segment.go); and the leaves, which know neither lanes
// nor the queue: record.go, layout.go, scan.go, position.go, names.go, extents.go, quarantine.go, repair.go, health.go,
// age.go, fs.go. The file system is in package filesystem; tests have one in memory (simulate/disk).
//
// # Invariants
//
//   - The order within a stream of a lane never changes; between streams and between lanes there is none. After Resize,
//     or a start that finds a backlog or has another number of lanes, the lanes of the older generation are drained
//     before anything newer.
//   - A lane has one group in flight. A request of stream 0 is alone in its group.
//   - What a start found in a lane is due, and is drained before anything that is appended to the lane later.
//   - Requests behind cold ones are not given out, since a cold one may be of the same stream.
//   - A record may depend on the earlier records of its request and on its layout, never on another request. Records
//     leave the queue in whole requests, or without the damaged end of one.
//   - Append never waits for the disk; Next and Ack never wait for a sync. Records in memory are returned
//     whether or not they are written, so a disk that takes no writes stops nothing. They are never read back from the
//     disk.
//   - Every sample is acknowledged, reported as lost under one Reason, or kept for the next process.
//
// # Locks
//
// Locks are taken in this order. FIFO.mu is free while Config.Lost and Config.Wake run:
//
//	Store.mu            the map of open queues; held over calls of the file system
//	positionFile.mu     one position file; held while it is written
//	FIFO.mu             all lanes, segments and counters; never held over a call of the file system
//
// quarantine.mu is held over calls of the file system, and renamableFS.mu is not. No other lock is taken under them,
// except renamableFS.mu under quarantine.mu. Locks that are held over calls of the file system are of the type
// diskLock. Neither Append nor Stats takes one, so scrapes and pages never wait for a disk.
//
// A goroutine that uses the file of a segment without FIFO.mu counts itself in segment.uses, so that the file is
// neither closed nor removed meanwhile.
//
// # On disk
//
// A Store is a directory that belongs to one process:
//
//	lock, lock.pid                 the lock, and the process that has it
//	q-<identity>/                  a queue
//	  lock                                   of the queue's process, or of a command that renames or removes it
//	  GGGGGGGG-NNNN-LLLL-SSSSSSSS.seg        segment S of lane L of the N lanes of generation G, all hexadecimal
//	  GGGGGGGG-NNNN-LLLL.pos                 position: up to where that lane is delivered
//	  GGGGGGGG-NNNN-LLLL-SSSSSSSS-OOOOOOOO.corrupt   damaged bytes of that segment from offset O, for people
//	  probe                                  exists for a moment: a test of the directory, or a segment being renewed
//
// For example, 00000002-0004-0001-0000001f.seg is segment 31 of lane 1 of the four lanes of generation 2.
//
// A new file never replaces anything, and no file is opened through a symbolic link. If something has the name of a
// new segment, it stays, and the segment gets the next number. If something has the name of a position, the next
// start begins a new generation, whose names are free.
//
// A segment is a sequence of records, each with a header. The first record of a segment begins a request, and no
// request spans two segments. Integers are little-endian, CRCs are CRC-32C:
//
//	offset  size                                                                   for example
//	     0     4  "EsqR"                                                           45 73 71 52
//	     4     1  version, 2                                                       02
//	     5     1  flags; bit 0, first: the record begins a request                 01
//	     6     2  kind of the data                                                 00 00
//	     8     4  length of the data, at most 256 MiB                              04 00 00 00
//	    12     4  CRC of the data                                                  d1 7d d8 ae
//	    16     4  the lower 32 bits of the samples of the segment before this      e8 03 00 00
//	              record, so that the number of samples in damage before it is
//	              known
//	    20     6  oldest timestamp, Unix milliseconds                              00 a8 da 76 9b 01
//	    26     6  newest timestamp                                                 98 e2 da 76 9b 01
//	    32     8  stream of the request that the record begins; else 0             ef cd ab 89 67 45 23 01
//	    40     4  samples                                                          07 00 00 00
//	    44     4  CRC of the bytes 0 to 43                                         25 d7 39 d6
//	    48        the data                                                         64 61 74 61
//
// The kinds of data:
//
//	0  a packed fragment of remote write
//	1  like 3, of an earlier version of this program, whose layouts had another form
//	2  data that needs a layout, then a reference to a copy of it in the same segment
//	3  a copy of a layout; the record begins a request and has no samples
//
// The reference is the last 8 bytes of the data:
//
//	offset  size                                                                   for example
//	     0     4  offset of the copy                                               f8 00 00 00
//	     4     4  CRC of the data of the copy                                      d1 7d d8 ae
//
// A copy is directly before the first record of the segment that refers to it, in the same request. After 64 records
// the next one gets a new copy. For example, with a layout of 1,000 bytes and records of 44 bytes a segment begins with
// two requests, and the second still refers to offset 0 when the first is delivered:
//
//	offset  kind  first  bytes
//	     0     3    yes   1048  the layout
//	  1048     2     no    100  a record that refers to offset 0
//	  1148     2    yes    100  a record that refers to offset 0
//
// Records of version 1 are read, too. They have 8 bytes each for the samples before, at 16, the oldest timestamp, at
// 24, and the newest, at 32. Their stream and their kind are 0.
//
// A position file has two slots, at 0 and at 65536, written in turn. The valid slot with the higher counter is the
// position. Behind the 48 bytes of its header it has a list of extents, which are parts of segments: first those behind
// the position that are delivered, then those in which a request begins that may have arrived. These are the group in
// flight, and what earlier processes had in flight:
//
//	offset  size                                                                   for example
//	     0     4  "EsqQ"                                                           45 73 71 51
//	     4     4  version, 2                                                       02 00 00 00
//	     8     4  segment                                                          03 00 00 00
//	    12     4  samples of the lane that the stop left undelivered, so that      00 00 00 00
//	              the next start finds out what is missing; 0: not known
//	    16     8  counter                                                          09 00 00 00 00 00 00 00
//	    24     8  offset: everything before it in that segment, and all earlier    34 00 00 00 00 00 00 00
//	              segments, are delivered
//	    32     2  number of extents that are delivered                             01 00
//	    34     2  number of extents that may have arrived                          01 00
//	    36     4  CRC of the bytes 0 to 35                                         56 a8 51 6b
//	    40     4  the highest number of a segment so far, which is not used again  04 00 00 00
//	    44     4  CRC of the extents                                               d1 82 17 6c
//	    48     8  extent: offset                                                   68 00 00 00 00 00 00 00
//	    56     4  segment                                                          03 00 00 00
//	    60     4  length                                                           34 00 00 00
//	    64        the other extents                                                00 00 00 00 00 00 00 00
//	                                                                               04 00 00 00
//	                                                                               34 00 00 00
//
// In the example everything before offset 52 of segment 3 is delivered, and the bytes 104 to 155. A request that begins
// in the bytes 0 to 51 of segment 4 may have arrived.
//
// A slot has room for 4,093 extents. If there are more, the newest delivered ones are left out, and are among those
// that may have arrived.
//
// Slots of version 1 are at 0 and 512. They have 40 bytes and no extents. Slots that begin with "EsqP" were written
// before slots had a version. Both are still read (position.go).
//
// A header or a slot that has a valid CRC and another version, unknown flags or an unknown kind was written by
// another version of this program. The queue is then refused with a FormatError and left as it is. All versions keep
// the magic, the version and the CRC where they are. docs/queue-format.md says what that means for an upgrade and a
// downgrade.
//
// # What a crash leaves
//
// The order is: data, position, removal. The state is rebuilt from the segments; the position only avoids repetition.
// If it is missing, damaged or does not fit, its lane is delivered again from its start. A position behind all
// segments fits: it moves only behind what was delivered or reported as lost, so a segment before it is one that
// could not be removed.
//
//   - A killed process loses what it had not yet handed to the kernel, which it does at once. It repeats at most one
//     group per lane, since the position is handed over before Ack returns. The repeated requests are marked as
//     MayHaveArrived, since what is in flight is handed over before Next returns it, or before it is written. If a
//     position cannot be written, a killed process repeats more, without the mark.
//   - A power cut loses at most what was written within the sync interval, and may repeat what was delivered before. A
//     start syncs the segments that it finds, since the process before may have been killed between a write and its
//     sync.
//   - After a failed sync the kernel regards the pages as written: a second sync would succeed without writing them.
//     So the segment is written to a new file, from memory as far as possible. The new file is synced and renamed to
//     the old name. Until then positions of the lane are not synced, and a power cut may take the segment. Copies of
//     layouts keep their places in the new file, those in delivered requests too.
//   - A dropped segment whose file cannot be removed is emptied, so that it is not delivered by the next process.
//   - Half a record at the end of a segment is cut off. A record with a bad CRC is skipped, with the records of its
//     request after it; those before it are delivered. A damaged copy of a layout costs the records that refer to it,
//     when they are read from disk. After a bad header the scan searches for a record that begins a request. Both kinds
//     of damage are counted, logged and copied aside; the start never fails for them.
//
// # What cannot be read
//
// A start first reads everything and only then changes anything. A segment that cannot be opened or read stays in its
// lane, and the lane's reader tries again when it gets there. After ten failures in a row, 181 seconds, the lane goes
// on behind it: the part that could not be read is counted as lost, and the file is kept under a .corrupt name.
package queue
