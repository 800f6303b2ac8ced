package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// generate writes logs as several kinds of programs write them.
func (b *bench) generate() error {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b.files {
		dir := filepath.Join(b.pods, fmt.Sprintf("shop_web-%d_0b1c2d3e-%04d", i, i), "app")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(dir, "0.log"))
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(f, 1<<20)
		at := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
		for size := 0; size < b.megabytes*1e6/b.files; {
			at = at.Add(time.Duration(r.IntN(3_000_000)))
			n, err := fmt.Fprintf(w, "%s %s F %s\n", at.Format(time.RFC3339Nano), [...]string{"stdout", "stdout", "stdout", "stderr"}[r.IntN(4)], line(r, i, at))
			if err != nil {
				return err
			}
			size += n
			b.bytes += int64(n)
			b.lines++
		}
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// line makes a line as one of four kinds of programs writes it.
func line(r *rand.Rand, file int, at time.Time) string {
	words := [...]string{"order", "customer", "payment", "session", "inventory", "shipment", "created", "updated", "for", "with", "failed", "timeout"}
	w := func() string { return words[r.IntN(len(words))] }
	switch file % 4 {
	case 0: // a Java service
		return fmt.Sprintf("%s %-5s [http-nio-8080-exec-%d] c.e.shop.%sController - %s %d %s %s %s in %d ms",
			at.Format("2006-01-02 15:04:05.000"), [...]string{"INFO", "INFO", "WARN", "DEBUG", "ERROR"}[r.IntN(5)], r.IntN(50), w(), w(), r.IntN(1e6), w(), w(), w(), r.IntN(2000))
	case 1: // an access log
		return fmt.Sprintf(`10.%d.%d.%d - - [%s] "GET /api/v1/%s/%d?%s=%d HTTP/1.1" %d %d "https://shop.example.com/%s" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" %d`,
			r.IntN(256), r.IntN(256), r.IntN(256), at.Format("02/Jan/2006:15:04:05 -0700"), w(), r.IntN(1e5), w(), r.IntN(100), [...]int{200, 200, 304, 404, 500}[r.IntN(5)], r.IntN(50000), w(), r.IntN(500))
	case 2: // structured
		return fmt.Sprintf(`{"level":"info","ts":%d.%06d,"caller":"%s/%s.go:%d","msg":"%s %s","trace":"%016x","took":%d}`,
			at.Unix(), r.IntN(1e6), w(), w(), r.IntN(500), w(), w(), r.Uint64(), r.IntN(1000))
	}
	return fmt.Sprintf("level=info component=%s msg=\"%s %s %s\" id=%d duration=%dms", w(), w(), w(), w(), r.IntN(1e6), r.IntN(100))
}

// quiet writes the files of the idle run, which nobody writes to later.
func quiet(pods string, files int) error {
	for i := range files {
		var s strings.Builder
		for j := range 20 {
			fmt.Fprintf(&s, "2024-05-01T10:00:00.%09dZ stdout F one of some lines that were written long ago, number %d of file %d\n", j, j, i)
		}
		if err := container(pods, fmt.Sprintf("quiet-%d", i), s.String()); err != nil {
			return err
		}
	}
	return nil
}

// container makes a container's log with its first lines.
func container(pods, pod, text string) error {
	dir := filepath.Join(pods, "shop_"+pod+"_0b1c2d3e-0001", "app")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "0.log"), []byte(text), 0o644)
}
