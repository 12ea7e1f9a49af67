"""The one thread that runs jobs, one after the other."""

import threading

from gpu_server.sketch.jobs.execution import AbandonedJobError, Environment, Execution
from gpu_server.sketch.jobs.queue import Job, JobQueue


class Worker(threading.Thread):
    """Runs the jobs of a queue until it is stopped or one of them kills it.

    As in ComfyUI, whatever is raised outside a node ends the thread while HTTP goes on: equal
    numbers and ids in the queue, extra_data that is not an object, nodes without inputs, a cycle,
    very deep graphs. Its job then stays in `queue_running`.
    """

    def __init__(self, queue: JobQueue, environment: Environment) -> None:
        super().__init__(name="sketch-worker", daemon=True)
        self._queue = queue
        self._env = environment
        self._free = threading.Event()
        self._plays_dead = False
        self.last_words: tuple[str, ...] = ()
        """What ended the thread, in the pieces in which ComfyUI's log has it."""

    def stop(self) -> None:
        """End the thread after the current node; its job leaves no trace."""
        self._env.stopped.set()
        self._queue.close()

    @property
    def runs_jobs(self) -> bool:
        """Whether it lives, and no fault makes it keep the job it took without running it."""
        return self.is_alive() and not self._plays_dead

    def interrupt(self) -> None:
        """Interrupt the running job, but not the next one."""
        self._env.interrupt.set()

    def free_memory(self) -> None:
        """Empty the cache after the running job, or before the next one."""
        self._free.set()

    def _empty_cache(self) -> None:
        if self._free.is_set():
            self._free.clear()
            self._env.cache.clear()

    def run(self) -> None:
        while True:
            try:
                taken = self._queue.get()
            except TypeError:
                return
            if taken is None:
                return
            task, job = taken
            self._plays_dead = self._env.faults.armed("worker_dead") is not None
            self._env.faults.hold("worker_dead", self._env.stopped)
            self._plays_dead = False
            try:
                self._perform(task, job)
            except AbandonedJobError:
                return
            except Exception as error:  # whatever it is ends ComfyUI's thread
                name = type(error).__name__
                self.last_words = "Exception in thread ", "Thread-9 (prompt_worker)", f":\n{name}\n"
                return
            self._empty_cache()

    def _perform(self, task: int, job: Job) -> None:
        self._env.interrupt.clear()
        self._empty_cache()
        execution = Execution(job, self._env)
        result = execution.run()
        self._env.faults.wait("history_race")
        if self._env.stopped.is_set():
            raise AbandonedJobError
        self._queue.finish(task, result)
        if execution.client is not None:
            data = {"node": None, "prompt_id": job.prompt_id}
            self._env.sockets.send("executing", data, execution.client)
