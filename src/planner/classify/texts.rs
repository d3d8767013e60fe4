//! What programs write when they fail.

use crate::api::FailureClass;

/// Where in a line a text has to stand.
pub(super) enum At {
    /// Where an exception has its name: at the start, after what a launcher puts before each line.
    Start,
    /// Anywhere.
    Any,
}

use At::{Any, Start};
use FailureClass::{
    CheckpointError, CudaError, CudaOutOfMemory, DataError, DiskFull, GpuFault, ImportError, NcclError, NcclTimeout,
    NonFinite, OutOfMemory, PeerFailure, Rendezvous, SharedMemory, SyntaxError, Terminated, UsageError,
};

/// A text, where in a line it has to stand, and what it tells.
pub(super) type Row = (At, &'static str, FailureClass);

/// What programs write when they fail. Of one line, the first row that fits.
const TEXTS: [Row; 95] = [
    // c10/cuda/CUDACachingAllocator.cpp and what CUDA, cuBLAS and NCCL, and HIP, hipBLAS and RCCL, say of the same.
    (Any, "CUDA out of memory", CudaOutOfMemory),
    (Any, "HIP out of memory", CudaOutOfMemory),
    (Any, "CUDA error: out of memory", CudaOutOfMemory),
    (Any, "HIP error: out of memory", CudaOutOfMemory),
    (Any, "hipErrorOutOfMemory", CudaOutOfMemory),
    (Start, "torch.OutOfMemoryError", CudaOutOfMemory),
    (Start, "torch.cuda.OutOfMemoryError", CudaOutOfMemory),
    (Any, "CUBLAS_STATUS_ALLOC_FAILED", CudaOutOfMemory),
    (Any, "HIPBLAS_STATUS_ALLOC_FAILED", CudaOutOfMemory),
    (Any, "Cuda failure 2 'out of memory'", CudaOutOfMemory),
    (Any, "Cuda failure 'out of memory'", CudaOutOfMemory),
    (Any, "HIP failure 'out of memory'", CudaOutOfMemory),
    // cudaGetErrorString of cudaErrorECCUncorrectable and its kind, NVML, and the kernel's driver; hipGetErrorName, and
    // the runtime of ROCm (rocr) when the driver resets a GPU.
    (Any, "uncorrectable ECC error", GpuFault),
    (Any, "uncorrectable NVLink error", GpuFault),
    (Any, "Invalid access of peer GPU memory over nvlink", GpuFault),
    (Any, "hardware stack error", GpuFault),
    (Any, "GPU is lost", GpuFault),
    (Any, "fallen off the bus", GpuFault),
    (Any, "NVRM: Xid", GpuFault),
    (Any, "hipErrorECCNotCorrectable", GpuFault),
    (Any, "HW Exception by GPU node", GpuFault),
    // torchvision and DETR, torch.autograd.anomaly_mode, torch.nn.utils.clip_grad, Megatron-LM, Lightning, fairseq.
    (Any, "Loss is nan", NonFinite),
    (Any, "Loss is inf", NonFinite),
    (Any, "loss is nan", NonFinite),
    (Any, "loss is NaN", NonFinite),
    (Any, "loss is inf", NonFinite),
    (Any, "is nan or inf", NonFinite),
    (Any, "returned nan values in its", NonFinite),
    (Any, "is non-finite, so it cannot be clipped", NonFinite),
    (Any, "found NaN in", NonFinite),
    (Any, "found Inf in", NonFinite),
    (Start, "FloatingPointError", NonFinite),
    // Python, and the dynamic linker of glibc.
    (Start, "ImportError", ImportError),
    (Start, "ModuleNotFoundError", ImportError),
    (Any, "python: No module named", ImportError),
    (Any, "python3: No module named", ImportError),
    (Any, "error while loading shared libraries", ImportError),
    (Start, "SyntaxError", SyntaxError),
    (Start, "IndentationError", SyntaxError),
    (Start, "TabError", SyntaxError),
    // Python's argparse, and Python itself.
    (Any, ": error: unrecognized arguments", UsageError),
    (Any, ": error: the following arguments are required", UsageError),
    (Any, ": error: argument ", UsageError),
    (Any, ": can't open file", UsageError),
    // torch.serialization, nn.Module.load_state_dict, torch.distributed.checkpoint, safetensors.
    (Any, "PytorchStreamReader failed", CheckpointError),
    (Any, "Error(s) in loading state_dict", CheckpointError),
    (Any, "_pickle.UnpicklingError", CheckpointError),
    (Any, "SafetensorError", CheckpointError),
    (
        Start,
        "torch.distributed.checkpoint.api.CheckpointException",
        CheckpointError,
    ),
    (Any, "No space left on device", DiskFull),
    // torch.utils.data, Pillow, pyarrow, datasets, and Python's own exceptions for files.
    (Any, "insufficient shared memory (shm)", SharedMemory),
    (Any, "DataLoader worker (pid", DataError),
    (Start, "FileNotFoundError", DataError),
    (Start, "PermissionError", DataError),
    (Start, "UnicodeDecodeError", DataError),
    (Start, "PIL.UnidentifiedImageError", DataError),
    (Start, "pyarrow.lib.Arrow", DataError),
    (Start, "datasets.", DataError),
    // Python, numpy, and c10/core/impl/alloc_cpu.cpp.
    (Start, "MemoryError", OutOfMemory),
    (Start, "numpy._core._exceptions._ArrayMemoryError", OutOfMemory),
    (Start, "numpy.core._exceptions._ArrayMemoryError", OutOfMemory),
    (Any, "DefaultCPUAllocator: can't allocate memory", OutOfMemory),
    (Any, "Cannot allocate memory", OutOfMemory),
    // torch/csrc/distributed/c10d: NCCLUtils, ProcessGroupNCCL, TCPStore, socket; gloo/transport/tcp/pair.cc.
    (Any, "ncclRemoteError", PeerFailure),
    (Any, "remote process exited or there was a network error", PeerFailure),
    (Any, "NCCL communicator was aborted", PeerFailure),
    (Any, "dump signal from another rank", PeerFailure),
    (Any, "Connection reset by peer", PeerFailure),
    (Any, "Connection closed by peer", PeerFailure),
    (Any, "Connection closed by remote peer", PeerFailure),
    (Any, "Connection was likely closed", PeerFailure),
    (Any, "failed to recv, got 0 bytes", PeerFailure),
    (Any, "Broken pipe", PeerFailure),
    // ProcessGroupNCCL::checkTimeout and its heartbeat monitor, of NCCL and of RCCL; gloo's unbound buffer and pair.
    (Any, "caught collective operation timeout", NcclTimeout),
    (Any, "watchdog got stuck", NcclTimeout),
    (Any, "Heartbeat monitor timed out", NcclTimeout),
    (Any, "Timed out waiting", NcclTimeout),
    (Any, "Application timeout caused pair closure", NcclTimeout),
    // torch.distributed.elastic.rendezvous and TCPStore while the ranks meet.
    (Any, "RendezvousTimeoutError", Rendezvous),
    (Any, "RendezvousConnectionError", Rendezvous),
    (Any, "RendezvousClosedError", Rendezvous),
    (Any, "client socket has timed out", Rendezvous),
    (Any, "client socket has failed to connect", Rendezvous),
    (Any, "Address already in use", Rendezvous),
    (Any, "EADDRINUSE", Rendezvous),
    // ProcessGroupNCCL, of NCCL and of RCCL.
    (Any, "NCCL error", NcclError),
    // c10/cuda and c10/hip, RCCL, the runtime of ROCm (rocr), torch.cuda.
    (Any, "CUDA error", CudaError),
    (Any, "HIP error", CudaError),
    (Any, "HIP failure", CudaError),
    (Any, "Memory access fault by GPU node", CudaError),
    (Any, "No CUDA GPUs are available", CudaError),
    (Any, "No HIP GPUs are available", CudaError),
    // torch.distributed.elastic.multiprocessing.api.SignalException, of the agent; Python.
    (Any, "got signal: 15", Terminated),
    (Any, "got signal: 2", Terminated),
    (Start, "KeyboardInterrupt", Terminated),
];

/// The row that fits a line, which a launcher's prefix has been taken from.
pub(super) fn row(line: &str) -> Option<&'static Row> {
    TEXTS.iter().find(|(at, text, _)| match at {
        Start => line.starts_with(text),
        Any => line.contains(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{End, classify};

    /// For each row, in the order of the table, a line that such a program writes, from the reports of its users.
    const LINES: [&str; TEXTS.len()] = [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 4.00 GiB.",
        "RuntimeError: CUDA error: out of memory",
        "torch.AcceleratorError: HIP error: out of memory",
        "Search for `hipErrorOutOfMemory' in https://docs.nvidia.com/cuda/cuda-runtime-api/",
        "torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)",
        "torch.cuda.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
        "job-worker-0:77:91 [0] include/alloc.h:246 NCCL WARN Cuda failure 2 'out of memory'",
        "job-worker-0:77:91 [0] transport/p2p.cc:275 NCCL WARN Cuda failure 'out of memory'",
        "job-worker-0:77:91 [0] src/include/alloc.h:120 NCCL WARN HIP failure 'out of memory'",
        // A broken GPU.
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "torch.AcceleratorError: CUDA error: uncorrectable NVLink error detected during the execution",
        "torch.AcceleratorError: CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
        "RuntimeError: CUDA error: hardware stack error",
        "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system",
        "NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0000:3b:00): 48, pid=1234, name=python, DBE (double bit error)",
        "Search for `hipErrorECCNotCorrectable' in https://docs.nvidia.com/cuda/cuda-runtime-api/",
        "HW Exception by GPU node-4 (Agent handle: 0x1ebc04e0) reason :GPU Hang",
        // The loss or a gradient.
        "Loss is nan, stopping training",
        "Loss is inf, stopping training",
        "ValueError: loss is nan at step 120",
        "RuntimeError: The loss is NaN, at iteration 120",
        "ValueError: loss is inf at step 120",
        "ValueError: The loss returned in `training_step` is nan or inf.",
        "RuntimeError: Function 'PowBackward0' returned nan values in its 0th output.",
        "RuntimeError: The total norm of order 2.0 for gradients from `parameters` is non-finite, so it cannot be clipped",
        "AssertionError: Rank 3: found NaN in local forward loss calculation. Device: 3, node: job-worker-0",
        "AssertionError: Rank 3: found Inf in local forward loss calculation. Device: 3, node: job-worker-0",
        "FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding.",
        // The program cannot start.
        "ImportError: cannot import name 'flash_attn_func' from 'flash_attn'",
        "ModuleNotFoundError: No module named 'flash_attn'",
        "/usr/bin/python: No module named train",
        "/usr/bin/python3: No module named train",
        "python: error while loading shared libraries: libcudart.so.12: cannot open shared object file",
        "SyntaxError: invalid syntax",
        "IndentationError: unexpected indent",
        "TabError: inconsistent use of tabs and spaces in indentation",
        "train.py: error: unrecognized arguments: --lrr",
        "train.py: error: the following arguments are required: --data",
        "train.py: error: argument --lr: invalid float value: 'fast'",
        "python: can't open file '/workspace/trian.py': [Errno 2] No such file or directory",
        // Checkpoints.
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
        "RuntimeError: Error(s) in loading state_dict for Net:",
        "_pickle.UnpicklingError: invalid load key, 'v'.",
        "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
        "torch.distributed.checkpoint.api.CheckpointException: CheckpointException ranks:dict_keys([0, 1])",
        "OSError: [Errno 28] No space left on device",
        // Data.
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
        "RuntimeError: DataLoader worker (pid 77) is killed by signal: Bus error.",
        "FileNotFoundError: [Errno 2] No such file or directory: '/data/train.bin'",
        "PermissionError: [Errno 13] Permission denied: '/data/train.bin'",
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        "PIL.UnidentifiedImageError: cannot identify image file '/data/7.jpg'",
        "pyarrow.lib.ArrowInvalid: Parquet magic bytes not found in footer.",
        "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset",
        // The memory of the machine.
        "MemoryError: bad allocation",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape (1000000000,)",
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape (1000000000,)",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
        "OSError: [Errno 12] Cannot allocate memory",
        // Another rank is gone.
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:268, remote process exited or there was a \
         network error, NCCL version 2.19.3",
        "torch.distributed.DistBackendError: NCCL communicator was aborted on rank 1.",
        "[rank1]:[E1128 ProcessGroupNCCL.cpp:616] [Rank 1] Observed flight recorder dump signal from another rank",
        "RuntimeError: [../gloo/transport/tcp/pair.cc:553] Read error [10.0.0.7]:40312: Connection reset by peer",
        "RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:40312",
        "job-worker-0:77:91 [0] misc/socket.cc:50 NCCL WARN socketProgress: Connection closed by remote peer",
        "torch.distributed.DistNetworkError: Failed to recv, got 0 bytes. Connection was likely closed. Did the remote \
         server shutdown or crash?",
        "[W1128 TCPStore.cpp:141] recvValue failed on SocketImpl(fd=3): failed to recv, got 0 bytes",
        "BrokenPipeError: [Errno 32] Broken pipe",
        // A collective that did not end.
        "[rank2]:[E1128 ProcessGroupNCCL.cpp:616] [Rank 2] Watchdog caught collective operation timeout: \
         WorkNCCL(SeqNum=4, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600010 milliseconds before timing out.",
        "[rank0]:[F1128 ProcessGroupNCCL.cpp:1557] [Rank 0] ProcessGroupNCCL's watchdog got stuck for 480 seconds",
        "[rank0]:[E1128 ProcessGroupNCCL.cpp:1282] [Rank 0] Heartbeat monitor timed out!",
        "RuntimeError: [../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation",
        "RuntimeError: [../gloo/transport/tcp/pair.cc:525] Application timeout caused pair closure",
        // The ranks do not meet.
        "torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError",
        "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the C10d store has failed.",
        "torch.distributed.elastic.rendezvous.api.RendezvousClosedError",
        "torch.distributed.DistNetworkError: The client socket has timed out after 60s while trying to connect to \
         (job-master-0, 8080).",
        "torch.distributed.DistNetworkError: The client socket has failed to connect to any network address of \
         (job-master-0, 8080).",
        "RuntimeError: The server socket has failed to bind to 0.0.0.0:8080 (errno: 98 - Address already in use).",
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. \
         port: 8080, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use",
        // Any other error of NCCL, CUDA and HIP.
        "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:219, invalid usage, NCCL version 2.19.3",
        "RuntimeError: CUDA error: device-side assert triggered",
        "torch.AcceleratorError: HIP error: invalid device function",
        "job-worker-0:77:91 [0] src/enqueue.cc:2061 NCCL WARN HIP failure 'the operation cannot be performed in the \
         present state'",
        "Memory access fault by GPU node-2 (Agent handle: 0x55d0c1e0) on address 0x7f3c00000000. Reason: Unknown.",
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: No HIP GPUs are available",
        // Asked to end.
        "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15",
        "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 2",
        "KeyboardInterrupt",
    ];

    #[test]
    fn each_row_is_found_by_what_programs_really_write_and_hidden_by_no_other() {
        for ((_, text, class), line) in TEXTS.iter().zip(LINES) {
            let found = row(line).map(|(_, text, _)| *text);
            assert_eq!(found, Some(*text), "{line}");
            let end = End {
                exit_code: Some(1),
                reason: Some("Error"),
                message: Some(line),
            };
            assert_eq!(classify(&end).class, *class, "{line}");
        }
    }
}
