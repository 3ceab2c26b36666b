package exposition

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestPieceReaderReadsToTheEnd: a body of net/http returns its last bytes together with io.EOF, and the response may
// have come in a short piece first. Nobody may take that io.EOF before the bytes.
func TestPieceReaderReadsToTheEnd(t *testing.T) {
	for _, first := range []int{1, 3896, chunkBytes} {
		for _, size := range []int{chunkBytes - 1, chunkBytes + 1, 36_000, 3*chunkBytes + first} {
			page := strings.Repeat("0123456789", size/10+1)[:size]
			body := io.MultiReader(strings.NewReader(page[:min(first, size)]),
				iotest.DataErrReader(strings.NewReader(page[min(first, size):])))
			in := copierOf(body)
			text, err := in.More(0, 1)
			got, readErr := readAll(&pieceReader{in, text, err})
			in.close()
			if readErr != nil || !bytes.Equal(got, []byte(page)) {
				t.Errorf("%d bytes, first %d of them: read %d bytes, %v", size, first, len(got), readErr)
			}
		}
	}
}
