"""Files of ours are written whole, whoever writes them at the same time."""

import threading

from paretoprune.files import write_whole


def test_threads_that_write_one_file_do_not_take_it_from_each_other(tmp_path):
    """They shared the name of the unfinished file: one moved it away under another's feet."""
    failed = []
    ready = threading.Barrier(4)

    def write(content):
        ready.wait()
        try:
            for _ in range(200):
                write_whole(tmp_path / "one.txt", content)
        except Exception as error:
            failed.append(error)

    contents = [bytes([65 + n]) * 10_000 for n in range(4)]
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert (tmp_path / "one.txt").read_bytes() in contents
    assert [file.name for file in tmp_path.iterdir()] == ["one.txt"]
