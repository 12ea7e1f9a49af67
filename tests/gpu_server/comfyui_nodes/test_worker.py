import threading

from gpu_server.comfyui_nodes.worker import Worker


def test_the_worker_is_unknown_before_it_was_seen_then_alive_then_dead() -> None:
    end = threading.Event()

    def some_worker() -> None:
        end.wait(30)

    worker = Worker("some_worker")
    assert worker.is_alive() is None
    thread = threading.Thread(target=some_worker)
    thread.start()
    assert worker.is_alive() is True
    end.set()
    thread.join()
    assert worker.is_alive() is False
