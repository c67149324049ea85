"""One step on its way to disk: this process's part of it, and its folder's name once all parts are there."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funcnet.checkpoint.files.safetensors_file import write_safetensors
from funcnet.checkpoint.runs.directory import commit_step, held, hidden_folder, step_folder
from funcnet.checkpoint.runs.manifest import Manifest, data_file, file_note
from funcnet.checkpoint.runs.pieces import Share, pieces_of_files
from funcnet.checkpoint.runs.processes import report_failure, wait_for, wait_for_files
from funcnet.core.files import sync_folder

__all__ = ["StepWriter"]


@dataclass(frozen=True)
class StepWriter:
    """What one process knows of a step to be written.

    Attributes:
        directory: of the run.
        step: the step.
        share: what this process writes.
        structure: of the tree.
        metrics: numbers by name.
        metadata: what else JSON can hold.
        token: the same in all processes, and in no other writing.
        process: the number of this one.
        processes: how many there are.
    """

    directory: Path
    step: int
    share: Share
    structure: Any
    metrics: dict[str, float]
    metadata: dict[str, Any]
    token: str
    process: int
    processes: int

    @property
    def _folder(self) -> Path:
        return hidden_folder(self.directory, "writing", self.step, self.token)

    def _write_share(self) -> None:
        name = data_file(self.process, self.processes)
        write_safetensors(self._folder / name, self.share.arrays, self.share.metadata)

    def write(self) -> None:
        """Write the step.

        Raises:
            RuntimeError: it could not be written; nothing is left of it, and earlier steps are whole.
        """
        try:
            if self.process == 0:
                with held(self.directory):
                    self._write_first()
            else:
                self._write_other()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise RuntimeError(
                f"step {self.step} could not be saved in {self.directory}: {problem}. Earlier steps are whole"
            ) from error

    def _write_first(self) -> None:
        folder = self._folder
        names = [data_file(process, self.processes) for process in range(self.processes)]
        try:
            folder.mkdir()
            self._write_share()
            wait_for_files(folder, names)
            self._describe(names).write(folder)
            sync_folder(folder)
            commit_step(self.directory, folder, self.step)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _describe(self, names: list[str]) -> Manifest:
        folder = self._folder
        files = {name: file_note(folder / name) for name in names}
        pieces = pieces_of_files(folder, names)
        return Manifest(
            self.step, self.metrics, self.metadata, files, pieces, self.structure, self.token
        )

    def _write_other(self) -> None:
        """Write this process's file, and wait for the first process to take it."""
        folder = self._folder
        wait_for(folder.exists, "the first process to begin")
        try:
            self._write_share()
        except BaseException as error:
            report_failure(folder, self.process, error)
            raise
        wait_for(lambda: not folder.exists(), "the first process to end")
        if Manifest.read(step_folder(self.directory, self.step)).token != self.token:
            raise RuntimeError("the first process could not write it")
