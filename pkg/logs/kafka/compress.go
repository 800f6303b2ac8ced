package kafka

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// A compressor appends compressed data, and says by which codec (the low three
// bits of a batch's attributes).
type compressor interface {
	compress(dst, src []byte) ([]byte, uint16, error)
}

// Codecs of a record batch.
const (
	codecNone   = 0
	codecSnappy = 2
	codecLZ4    = 3
	codecZstd   = 4
)

// newCompressor returns the compressor of a name: "lz4", "zstd", "snappy" or
// "none".
func newCompressor(name string) (compressor, error) {
	switch name {
	case "lz4":
		return new(lz4Compressor), nil
	case "snappy":
		return snappyCompressor{}, nil
	case "zstd":
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithEncoderCRC(false))
		return zstdCompressor{enc}, err
	case "none":
		return noCompressor{}, nil
	}
	return nil, fmt.Errorf("compression %q: want lz4, zstd, snappy or none", name)
}

type noCompressor struct{}

func (noCompressor) compress(dst, src []byte) ([]byte, uint16, error) {
	return append(dst, src...), codecNone, nil
}

type snappyCompressor struct{}

func (snappyCompressor) compress(dst, src []byte) ([]byte, uint16, error) {
	n := len(dst)
	dst = grow(dst, s2.MaxEncodedLen(len(src)))
	out := s2.EncodeSnappy(dst[n:cap(dst)], src)
	return dst[:n+len(out)], codecSnappy, nil
}

type zstdCompressor struct{ enc *zstd.Encoder }

func (z zstdCompressor) compress(dst, src []byte) ([]byte, uint16, error) {
	return z.enc.EncodeAll(src, dst), codecZstd, nil
}

// lz4BlockMax is the block size that lz4Frame announces, in bytes.
const lz4BlockMax = 4 << 20

// lz4Frame is the header of an LZ4 frame (lz4 frame format 1.6): independent
// blocks of at most 4 MiB, no checksums (the batch has one), and the header's
// own checksum.
var lz4Frame = [...]byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73}

type lz4Compressor struct{ c lz4.Compressor }

func (z *lz4Compressor) compress(dst, src []byte) ([]byte, uint16, error) {
	dst = append(dst, lz4Frame[:]...)
	for len(src) > 0 {
		block := src[:min(len(src), lz4BlockMax)]
		src = src[len(block):]
		at := len(dst)
		dst = grow(dst, 4+lz4.CompressBlockBound(len(block)))
		n, err := z.c.CompressBlock(block, dst[at+4:cap(dst)])
		if err != nil {
			return nil, 0, fmt.Errorf("lz4: %w", err)
		}
		size := uint32(n)
		if n == 0 || n >= len(block) { // not compressible: as it is
			n = copy(dst[at+4:cap(dst)], block)
			size = uint32(n) | 1<<31
		}
		dst = dst[:at+4+n]
		binary.LittleEndian.PutUint32(dst[at:], size)
	}
	return append(dst, 0, 0, 0, 0), codecLZ4, nil
}

// grow returns b with room for n more bytes.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	bigger := make([]byte, len(b), len(b)+n)
	copy(bigger, b)
	return bigger
}
